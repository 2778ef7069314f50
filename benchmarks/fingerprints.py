"""Does the acoustic fingerprint know a recording again, and nothing else?

    python -m benchmarks.fingerprints --recordings=DIR

Each recording below `--recordings` is encoded again in many ways. A JSON line a way: `value` is the share of versions
that are found to be of their original, `least` the smallest agreement of the sketches of such a pair. The last line has
all pairs: `true_positives` of those that are of one recording, `false_positives` of those that are not, `largest` the
agreement of the most similar of these, and how many times faster than real time fingerprints are made.
"""

import io
import itertools
import json
import pathlib
import sys
import time
from collections.abc import Iterator

import numpy as np
import soundfile
import soxr
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.data import audio_fingerprint, audio_io, near_duplicates

_RECORDINGS = cli.define_path("recordings", None, "Folder of recordings, each of them another one.", required=True)
_SECONDS = flags.DEFINE_float("seconds", 60.0, "So much of the beginning of each.")

LOSSY = {"mp3": ("MP3", "MPEG_LAYER_III"), "ogg": ("OGG", "VORBIS")}
COMPRESSION = (0.2, 0.9)  # of libsndfile's levels 0 to 1
RATES = (32000, 22050, 16000)  # Hz
TRIMS = (0.0137, 0.5, 3.0)  # seconds


def main() -> None:
    """Flags -> JSON lines."""
    paths = [path for path in sorted(pathlib.Path(_RECORDINGS.value).rglob("*")) if path.suffix in audio_io.EXTENSIONS]
    config.require(len(paths) > 1, f"--recordings={_RECORDINGS.value} holds {len(paths)} recordings; two are needed")
    sketches, seconds = {}, 0.0
    for path in paths:
        rate = soundfile.info(path).samplerate
        audio = soundfile.read(path, round(_SECONDS.value * rate), dtype="float32", always_2d=True)[0]
        for way, (changed, changed_rate) in {"original": (audio, rate), **dict(versions(audio, rate))}.items():
            started = time.process_time()
            sketches[path, way] = sketch(changed.mean(axis=1, dtype=np.float32), changed_rate)
            seconds += time.process_time() - started
    for line in found(paths, sketches):
        print(json.dumps({"benchmark": "fingerprints"} | line), flush=True)
    ways = len(sketches) // len(paths)
    heard = sum(min(_SECONDS.value, soundfile.info(path).duration) for path in paths) * ways
    print(json.dumps({"benchmark": "fingerprints_speed", "value": heard / seconds, "unit": "times real time a core"}))


def sketch(mono: np.ndarray, rate: int) -> np.ndarray | None:
    """The fingerprint of mono samples [S]."""
    made = audio_fingerprint.Fingerprint(rate)
    for start in range(0, len(mono), 10 * rate):
        made.add(mono[start : start + 10 * rate])
    return made.sketch()


def versions(audio: np.ndarray, rate: int) -> Iterator[tuple[str, tuple[np.ndarray, int]]]:
    """(way, (samples [S, C], Hz)) of a recording encoded again."""
    yield "gain 0.3", (audio * np.float32(0.3), rate)
    for name, level in itertools.product(LOSSY, COMPRESSION):
        yield f"{name} {level}", encoded(audio, rate, name, level)
    for other in RATES:
        resampled = soxr.resample(audio, rate, other)
        yield f"flac {other} Hz", (np.round(resampled * 32767) / np.float32(32767), other)
        yield f"mp3 {other} Hz", encoded(resampled, other, "mp3", 0.7)
    for cut in TRIMS:
        yield f"without the first {cut:g} s", (audio[round(cut * rate) :], rate)
    rest = audio[round(1.234 * rate) :] * np.float32(0.5)
    yield "without 1.234 s, half as loud, mp3 0.9", encoded(rest, rate, "mp3", 0.9)
    yield "second half", (audio[len(audio) // 2 :], rate)


def encoded(audio: np.ndarray, rate: int, name: str, level: float) -> tuple[np.ndarray, int]:
    """Samples through a lossy codec."""
    container, codec = LOSSY[name]
    buffer = io.BytesIO()
    options = {"format": container, "subtype": codec, "compression_level": level}
    with soundfile.SoundFile(buffer, "w", rate, audio.shape[1], **options) as file:
        for start in range(0, len(audio), 4096):  # libsndfile's Vorbis encoder crashes on many samples at once
            file.write(audio[start : start + 4096])
    buffer.seek(0)
    return soundfile.read(buffer, dtype="float32", always_2d=True)


def found(paths: list[pathlib.Path], sketches: dict) -> Iterator[dict]:
    """The lines of all ways, then that of all pairs."""
    for way in dict.fromkeys(way for _, way in sketches if way != "original"):
        values = [agreement(sketches[path, "original"], sketches[path, way]) for path in paths]
        share = float(np.mean(np.array(values) >= audio_fingerprint.MIN_AGREEMENT))
        yield {"way": way, "value": share, "unit": "share found", "least": min(values)}
    same, other = [], []
    for (one, first), (two, second) in itertools.combinations(sketches.items(), 2):
        (same if one[0] == two[0] else other).append(agreement(first, second))
    limit = audio_fingerprint.MIN_AGREEMENT
    yield {
        "way": "all pairs",
        "value": float(np.mean(np.array(same) >= limit)),
        "unit": "share found",
        "true_positives": int(np.sum(np.array(same) >= limit)),
        "pairs_of_one_recording": len(same),
        "false_positives": int(np.sum(np.array(other) >= limit)),
        "pairs_of_two_recordings": len(other),
        "largest": max(other),
        "limit": limit,
    }


def agreement(first: np.ndarray | None, second: np.ndarray | None) -> float:
    """Of two sketches; 0 where there is none."""
    return 0.0 if first is None or second is None else near_duplicates.agreement(first, second)


if __name__ == "__main__":
    cli.run(main)
