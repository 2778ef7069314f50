"""Which distance between sets of recordings hears which damage, and from what strength on?

    make embeddings
    python -m benchmarks.degradation_ladder --recordings=DIR \
        --embeddings=log-mel-statistics,musicnn:embeddings/MTT_musicnn

Clips of the recordings are damaged in five ways, each at rising strength, and compared with the same clips as they
were, in every embedding, by Fréchet and by kernel distance. Beside them stands the floor: how far the first halves of
the recordings lie from their second halves, nothing damaged (of half as many frames, which for Fréchet distances is a
part of it). A damage below the floor cannot be told from other music of the same kind: there a distance is blind.

A JSON line a damage and distance: `values` over `strengths`, `floor`, `rises` (whether every step is above the one
before it), `heard_from` (the first strength above the floor, null where it is blind), `num_frames` and `reliable`. The
last lines, on stderr, are the table.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import soundfile
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import damages
from musicgen_jax import config
from musicgen_jax.command_line import cli

_RECORDINGS = flags.DEFINE_string("recordings", None, "Folder of audio files.", required=True)
_EMBEDDINGS = flags.DEFINE_list("embeddings", ["log-mel-statistics"], "As evaluate's, but for tokenizer-encoder.")
_CLIP_SECONDS = flags.DEFINE_float("clip_seconds", 10.0, "Of a clip; the next begins half a clip later.")
_MAX_CLIPS = flags.DEFINE_integer("max_clips", 1000, "Of all recordings together, evenly spaced.")


def main() -> None:
    """Flags -> JSON lines and a table."""
    from musicgen_jax.evaluation.embeddings import choice

    config.require("tokenizer-encoder" not in _EMBEDDINGS.value, "--embeddings: there is no tokenizer here")
    longest = damages.DAMAGES["shuffled segments"][2][0]
    enough = _CLIP_SECONDS.value > 2 * longest
    config.require(enough, f"--clip_seconds={_CLIP_SECONDS.value}: must be more than two segments of {longest} s")
    embeddings = choice.load(_EMBEDDINGS.value, None)
    clips = list(read_clips(pathlib.Path(_RECORDINGS.value), _CLIP_SECONDS.value, _MAX_CLIPS.value))
    config.require(len(clips) > 3, f"--recordings: {len(clips)} clips; longer recordings, or shorter clips")
    lines = []
    for embedding in embeddings:
        for line in ladder(clips, embedding):
            print(json.dumps({"benchmark": "degradation_ladder", "unit": "distance"} | line), flush=True)
            lines.append(line)
    print(table(lines), file=sys.stderr)


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A clip of a recording.

    Attributes:
      audio: mono float64 [S].
      rate: Hz.
      half: 0 or 1 where it lies wholly in that half of its recording, else None.
    """

    audio: np.ndarray
    rate: int
    half: int | None


def read_clips(folder: pathlib.Path, seconds: float, most: int) -> Iterator[Clip]:
    """Clips of all recordings, each of which begins half a clip after the one before it."""
    places = []
    for path in sorted(one for one in folder.iterdir() if one.suffix in (".ogg", ".wav", ".flac", ".mp3")):
        info = soundfile.info(path)
        size = round(seconds * info.samplerate)
        for start in range(0, info.frames - size + 1, size // 2):
            halves = [start + size <= info.frames // 2, start >= info.frames // 2]
            places.append((path, start, size, halves.index(True) if any(halves) else None))
    for index in np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)):
        path, start, size, half = places[index]
        audio, rate = soundfile.read(path, start=start, frames=size, always_2d=True)
        yield Clip(audio.mean(axis=1), rate, half)


def ladder(clips: list[Clip], embedding: Any) -> Iterator[dict]:
    """The lines of one embedding."""
    from musicgen_jax.evaluation import frechet_distance, kernel_distance

    clean = statistics(clips, embedding)
    halves = [statistics([clip for clip in clips if clip.half == half], embedding) for half in (0, 1)]
    distances = {
        embedding.distance: lambda a, b: frechet_distance.gaussian_distance(a.gaussian, b.gaussian),
        f"kernel, {embedding.name}": lambda a, b: kernel_distance.kernel_distance(a.frames, b.frames, clean.bandwidth),
    }
    for damage, (damaged, unit, strengths) in damages.DAMAGES.items():
        found = [
            statistics(
                (dataclasses.replace(clip, audio=damaged(clip.audio, clip.rate, strength)) for clip in clips), embedding
            )
            for strength in strengths
        ]
        for name, distance in distances.items():
            values, floor = [distance(one, clean) for one in found], distance(*halves)
            heard = [strength for strength, value in zip(strengths, values, strict=True) if value > floor]
            yield {
                "damage": damage,
                "distance": name,
                "value": values[-1],
                "values": values,
                "strengths": strengths,
                "strength_unit": unit,
                "floor": floor,
                "rises": bool(np.all(np.diff(values) > 0)),
                "heard_from": heard[0] if heard else None,
                "num_frames": clean.num_frames,
                "reliable": clean.reliable,
            }


def statistics(clips: Iterable[Clip], embedding: Any) -> Any:
    """Of the frames of clips."""
    from musicgen_jax.evaluation import embedding_statistics

    accumulator = embedding_statistics.Accumulator(embedding)
    for clip in clips:
        accumulator.add(embedding.embed(np.clip(clip.audio, -1, 1), clip.rate))
    return accumulator.result()


def table(lines: list[dict]) -> str:
    """Markdown: values as multiples of the floor, and from where on a damage is heard."""
    rows = ["| damage | distance | strengths, weak to strong | times the floor | heard from |", "|---|---|---|---|---|"]
    for line in lines:
        times = ", ".join(f"{value / line['floor']:.2g}" for value in line["values"])
        strengths = ", ".join(f"{one:g}" for one in line["strengths"])
        heard = "blind" if line["heard_from"] is None else f"{line['heard_from']:g} {line['strength_unit']}"
        falls = "" if line["rises"] else " (does not rise everywhere)"
        strengths += f" {line['strength_unit']}"
        rows.append(f"| {line['damage']} | {line['distance']} | {strengths} | {times}{falls} | {heard} |")
    return "\n".join(rows)


if __name__ == "__main__":
    cli.run(main)
