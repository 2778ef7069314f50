"""MusicXML -> notes in quarters, by music21. Imports no JAX: worker processes read scores with it."""

import dataclasses
import pathlib

import numpy as np

from musicgen_jax.errors import UserError

SUFFIXES = (".mxl", ".musicxml", ".xml")


@dataclasses.dataclass(frozen=True)
class Score:
    """The notes of a score, every part monophonic.

    Attributes:
      name: the file's name without its suffix.
      parts: names of the parts, from the top.
      voices: float32 [N, 3], one array a part, a row a note: MIDI pitch, onset and duration in quarters.
      fermatas: start and end, in quarters, of each stretch of time under a fermata; sorted and disjoint.
    """

    name: str
    parts: tuple[str, ...]
    voices: tuple[np.ndarray, ...]
    fermatas: tuple[tuple[float, float], ...]

    @property
    def quarters(self) -> float:
        """End of the last note, in quarters."""
        return max((float((voice[:, 1] + voice[:, 2]).max()) for voice in self.voices if len(voice)), default=0.0)


def read(path: pathlib.Path) -> Score:
    """Reads one MusicXML file. Ties are merged, repeats are played once, grace notes (no duration of their own) go.

    Raises:
      UserError: it cannot be parsed, or a part has several notes at once.
    """
    from music21 import converter

    try:
        # Past music21's cache of parsed files: pickling a score takes longer than parsing it.
        parsed = converter.parse(path, forceSource=True, storePickle=False)
    except Exception as error:  # music21 raises whatever its parsers come across
        raise UserError(f"music21 cannot parse it: {type(error).__name__}: {error}") from error
    names, voices, fermatas = [], [], []
    for index, part in enumerate(getattr(parsed, "parts", ())):
        names.append(" ".join((part.partName or f"part {index + 1}").split()))
        voices.append(_voice(part, names[-1], fermatas))
    return Score(pathlib.Path(path).stem, tuple(names), tuple(voices), tuple(_union(fermatas)))


def read_or_explain(path: pathlib.Path) -> Score | str:
    """`read`, with the reason in place of an exception: what travels between processes."""
    try:
        return read(path)
    except ValueError as error:
        return str(error)


def _voice(part, name: str, fermatas: list[tuple[float, float]]) -> np.ndarray:
    """Notes [N, 3] of a music21 part; adds the time under its fermatas to `fermatas`."""
    rows: list[list[float]] = []
    for element in part.flatten().notes:
        if element.duration.isGrace:
            continue
        onset, duration = float(element.offset), float(element.duration.quarterLength)
        if any("Fermata" in expression.classes for expression in element.expressions):
            fermatas.append((onset, onset + duration))
        end = rows[-1][1] + rows[-1][2] if rows else 0.0
        if len(element.pitches) != 1 or onset < end - 1e-4:
            raise UserError(f"several notes at once in one part: {name}, at quarter {onset:g}")
        pitch = float(element.pitches[0].ps)
        tied = element.tie is not None and element.tie.type in ("stop", "continue")
        if tied and rows and rows[-1][0] == pitch and abs(end - onset) < 1e-4:
            rows[-1][2] += duration
        else:
            rows.append([pitch, onset, duration])
    return np.array(rows, np.float32).reshape(-1, 3)


def _union(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
