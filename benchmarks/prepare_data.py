"""How many hours of recordings does `prepare_data` prepare in an hour, on one core?

    python -m benchmarks.prepare_data --recording=FILE

The recording is encoded as wav, flac and mp3, and `--copies` of each are prepared: checked, decoded, resampled and
written, by one process without workers, twice, of which the second time counts. Prints a JSON line a container:
`value` is hours of recordings an hour of CPU time, which other work on the machine does not shorten; `share_of_limit`
compares it with decoding alone, by libsndfile in blocks of ten seconds. Then two lines about memory: `value` is the
peak of a process that prepares one recording of `--long_minutes`, or `--many_files` of two seconds, in MB, and `growth`
by how much that is more than of one short recording.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import soundfile
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values
from musicgen_jax.command_line import cli
from musicgen_jax.data import audio_io, preparation
from musicgen_jax.data.sources import recordings

_RECORDING = cli.define_path("recording", None, "A recording of some minutes.", required=True)
_CONTAINERS = flags.DEFINE_list("containers", ["wav", "flac", "mp3"], "What the recording is encoded as.")
_MEMORY = flags.DEFINE_bool("memory", True, "Whether to measure memory too.")
_COPIES = flags.DEFINE_integer("copies", 4, "Recordings that are prepared together.")
_SAMPLE_RATE = flags.DEFINE_integer("sample_rate", 22050, "Hz of the data set.")
_LONG_MINUTES = flags.DEFINE_integer("long_minutes", 60, "Of the long recording.")
_MANY_FILES = flags.DEFINE_integer("many_files", 5000, "Number of the short recordings.")

SHORT_SECONDS = 2
PEAK = """
import sys
from musicgen_jax.data import preparation
from musicgen_jax.data.sources import recordings
settings = preparation.Settings("recordings", sys.argv[1], int(sys.argv[3]), 0)
preparation.prepare(settings, recordings, sys.argv[2], 0)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def main() -> None:
    """Flags -> JSON lines."""
    flag_values.require_positive(_COPIES, _LONG_MINUTES, _MANY_FILES)
    with audio_io.open_audio(_RECORDING.value) as file:
        audio, rate = np.concatenate(list(file.blocks())), file.sample_rate
    for container in _CONTAINERS.value:
        with tempfile.TemporaryDirectory() as folder:
            line = _speed(pathlib.Path(folder), container, audio, rate)
        print(json.dumps({"benchmark": "prepare_data"} | line), flush=True)
    if not _MEMORY.value:
        return
    short = _peak(lambda folder: _write(folder / "a.wav", audio[: SHORT_SECONDS * rate], rate))
    for name, make in (("long", lambda folder: _write_long(folder, audio, rate)), ("many", _write_many)):
        peak = _peak(make)
        line = {"recordings": name, "value": round(peak), "unit": "MB", "growth": round(peak - short)}
        print(json.dumps({"benchmark": "prepare_data"} | line), flush=True)


def _speed(folder: pathlib.Path, container: str, audio: np.ndarray, rate: int) -> dict:
    source = folder / "in"
    source.mkdir()
    rng = np.random.default_rng(0)
    for copy in range(_COPIES.value):  # not the same samples: those would be rejected
        changed = audio * (1 - 0.1 * rng.random())
        _write(source / f"{copy}.{container}", changed.astype(np.float32), rate)
    hours = _COPIES.value * len(audio) / rate / 3600
    settings = preparation.Settings("recordings", str(source), _SAMPLE_RATE.value, 0)
    for turn in ("first", "second"):  # the first one compiles and imports
        seconds = _cpu_seconds(lambda turn=turn: preparation.prepare(settings, recordings, str(folder / turn), 0))
    limit = min(_cpu_seconds(lambda: _decode(source)) for _ in range(2))
    return {
        "container": container,
        "value": round(hours * 3600 / seconds),
        "unit": "audio-hours an hour a core",
        "cpu_seconds": round(seconds, 3),
        "limit": round(hours * 3600 / limit),
        "share_of_limit": round(limit / seconds, 3),
        "sample_rates": [rate, _SAMPLE_RATE.value],
    }


def _cpu_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _decode(folder: pathlib.Path) -> None:
    for path in folder.iterdir():
        with soundfile.SoundFile(path) as file:
            while len(file.read(10 * file.samplerate, dtype="float32")):
                pass


def _peak(make: Callable[[pathlib.Path], None]) -> float:
    """MB of a process that prepares the recordings that `make` writes to a folder."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "in"
        source.mkdir()
        make(source)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, source, f"{folder}/out", str(_SAMPLE_RATE.value)],
            cwd=pathlib.Path(__file__).resolve().parents[1], check=True, capture_output=True, text=True,
        )  # fmt: skip
        return int(done.stdout.split()[-1]) / 1000


def _write(path: pathlib.Path, audio: np.ndarray, rate: int) -> None:
    soundfile.write(path, audio, rate)


def _write_long(folder: pathlib.Path, audio: np.ndarray, rate: int) -> None:
    with soundfile.SoundFile(folder / "a.flac", "w", rate, audio.shape[1]) as file:
        while file.frames < _LONG_MINUTES.value * 60 * rate:
            file.write(audio)


def _write_many(folder: pathlib.Path) -> None:
    rng, rate = np.random.default_rng(0), 8000
    for index in range(_MANY_FILES.value):
        _write(folder / f"{index:06d}.wav", 0.1 * rng.standard_normal(SHORT_SECONDS * rate), rate)


if __name__ == "__main__":
    cli.run(main)
