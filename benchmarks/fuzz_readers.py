"""What do readers of a data set's files do with damaged ones?

    python -m benchmarks.fuzz_readers --count=200

Each reader of `READERS` gets `--count` copies of a small file that were damaged on purpose (`tests/fuzzing.py`): cut,
bits flipped, absurd values where a header says how long and how many. It reads them one by one in a process of its own,
which is killed after five seconds of one. A JSON line a reader: `value` is the inputs that were answered as they should
be, read or refused with one line; of those that were not, `crashed`, `hung` and `failed` (any other exception) say how
many, `faults` which; `slowest_seconds` is of one input, `peak_bytes` the most that the process had.
"""

import functools
import io
import json
import pathlib
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import soundfile
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

import fuzzing

from benchmarks import flag_values
from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.data import audio_check, lyrics, near_duplicates, workers
from musicgen_jax.data.sources import fma
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import jsb, melodic_shingles, midi
from musicgen_jax.scores.score import Score

_COUNT = flags.DEFINE_integer("count", 200, "Damaged files of each reader.")
_READERS = flags.DEFINE_list("readers", [], "Which readers; all by default.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the damage.")

RATE = 16000
TABLE = """,artist,set,set,track,track,track
,name,split,subset,genre_top,license,title
track_id,,,,,,
2,Ann,training,small,Rock,Attribution 3.0,"One, two"
5,Ben,validation,small,,CC0 1.0 Universal,Three
134,"The ""C"" men",test,medium,Jazz,Attribution-NonCommercial,Four
"""
WORDS = """[ar:Ann]
[offset:+500]
[00:12.00][01:15.30]Some words are sung
[00:15.00]<00:15.10>one <00:15.60>by <00:16.00>one<00:17.00>
[00:20.50]
"""


def main() -> None:
    """Flags -> JSON lines."""
    flag_values.require_positive(_COUNT)
    for name in _READERS.value:
        config.require(name in READERS, f"--readers: {name!r} is none of {', '.join(READERS)}")
    for name in _READERS.value or READERS:
        print(json.dumps({"benchmark": "fuzz_readers", "reader": name} | surveyed(name)), flush=True)


def surveyed(name: str) -> dict:
    """The figures of one reader."""
    whole, inputs = READERS[name][0]()
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / f"x.{name}")
        work = functools.partial(answer, name, path)
        for outcome in workers.ordered_map(work, [whole, *inputs], 1, lambda item: fuzzing.MAX_SECONDS):
            answers.append((_how(outcome), 0.0, 0) if isinstance(outcome, workers.Lost) else outcome)
    config.require(answers[0][0] == "read", f"{name}: the whole file is {answers[0][0]}")
    outcomes = [how for how, _, _ in answers[1:]]
    counts = {how: outcomes.count(how) for how in ("read", "refused", "crashed", "hung")}
    faults = [f"{index}: {how}" for index, how in enumerate(outcomes) if how not in ("read", "refused")]
    return {
        "value": counts["read"] + counts["refused"],
        "unit": f"of {len(outcomes)} inputs",
        **counts,
        "failed": len(faults) - counts["crashed"] - counts["hung"],
        "faults": faults[:10],
        "slowest_seconds": max(seconds for _, seconds, _ in answers[1:]),
        "peak_bytes": max(peak for _, _, peak in answers),
    }


def _how(lost: workers.Lost) -> str:
    return "hung" if lost.reason.startswith("no end") else "crashed"


def answer(name: str, path: str, content: bytes) -> tuple[str, float, int]:
    """(what came of reading the content, seconds, peak bytes of this process)."""
    pathlib.Path(path).write_bytes(content)
    start = time.perf_counter()
    try:
        READERS[name][1](path)
        how = "read"
    except UserError as error:
        how = "refused" if "\n" not in str(error) else f"a message of several lines: {error}"
    except Exception as error:
        how = f"{type(error).__name__}: {error}"
    return how, time.perf_counter() - start, _peak_bytes()


def _peak_bytes() -> int:
    """Resident memory that this process had at most: since it began, where the system says that."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # getrusage counts what the process held from which it was started, too
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _require_whole(reason: str) -> None:
    if reason:
        raise UserError(reason)


def read_audio(path: str) -> None:
    """As a data set's recording: checked, decoded, resampled, with its fingerprint."""
    inspection = audio_check.Inspection(path, 1.0, fingerprint=True)
    for _ in inspection.blocks(8000):
        pass
    _require_whole(inspection.facts.reason)


def read_midi(path: str) -> None:
    """As a file of `lakh`."""
    near_duplicates.sketch(melodic_shingles.of(midi.read(path, apply_sustain=True)))


def read_lyrics(path: str) -> None:
    """As the words beside a recording."""
    lyrics.parse(lyrics.read(path)[0], 180.0)


def audio(container: str) -> tuple[bytes, Iterator[bytes]]:
    """A recording of two seconds, whole and damaged."""
    buffer = io.BytesIO()
    tones = 0.1 * np.random.default_rng(0).standard_normal((2 * RATE, 2))
    with soundfile.SoundFile(buffer, "w", RATE, 2, format=container) as file:
        file.artist = "Ann"
        file.write(tones)
    return buffer.getvalue(), fuzzing.hostile(buffer.getvalue(), _SEED.value, _COUNT.value)


def song() -> tuple[bytes, Iterator[bytes]]:
    """A score of two parts."""
    rng = np.random.default_rng(0)
    rows = [[pitch, n // 2 / 4, 0.2, 80, n % 2] for n, pitch in enumerate(rng.integers(40, 80, 200))]
    content = midi.to_bytes(Score(rows, np.arange(52) / 2, np.arange(0, 52, 4.0)))
    return content, fuzzing.hostile(content, _SEED.value, _COUNT.value)


def text(content: str) -> tuple[bytes, Iterator[bytes]]:
    """A text file."""
    return content.encode(), fuzzing.hostile_text(content, _SEED.value, _COUNT.value)


def grid() -> tuple[bytes, Iterator[bytes]]:
    """Published chorales: half of the damage keeps it JSON."""
    content = json.dumps({split: [[[72, 65, 60, 48]] * 8] for split in ("train", "valid", "test")})
    kept = fuzzing.json_mutations(content, _SEED.value, _COUNT.value // 2)
    rest = fuzzing.hostile_text(content, _SEED.value, _COUNT.value - _COUNT.value // 2)
    return content.encode(), iter([*kept, *rest])


Maker = Callable[[], tuple[bytes, Iterator[bytes]]]
READERS: dict[str, tuple[Maker, Callable[[str], object]]] = {
    "wav": (functools.partial(audio, "WAV"), read_audio),
    "flac": (functools.partial(audio, "FLAC"), read_audio),
    "ogg": (functools.partial(audio, "OGG"), read_audio),
    "mp3": (functools.partial(audio, "MP3"), read_audio),
    "mid": (song, read_midi),
    "csv": (functools.partial(text, TABLE), fma.read_rows),
    "json": (grid, jsb.read),
    "match_scores.json": (functools.partial(text, '{"TRAAAGR128F425B14B": {"0a1b": 0.7}}'), files.read_json),
    "lrc": (functools.partial(text, WORDS), read_lyrics),
}


if __name__ == "__main__":
    cli.run(main)
