"""Notes of a piece in parts: those of a stretch, parts joined, and how many a stretch may have."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import DURATION, ONSET, PART, PITCH

MAX_OCTAVES = 40  # of stretches: more than any number of seconds
ROWS_MULTIPLE = 16  # of arrays of notes, so that music of about the same density shares a program


def within(notes: np.ndarray, start: float, stop: float) -> np.ndarray:
    """The notes [N, 5] that sound within [start, stop) seconds, whole and with their times as they are."""
    onsets = notes[:, ONSET].astype(np.float64)
    return notes[(onsets < stop) & ((onsets + notes[:, DURATION] > start) | (onsets >= start))]


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Notes float32 [N, 5] of several stretches of one piece, in order; one that stands in several is one."""
    notes = np.unique(np.concatenate([np.zeros((0, 5), np.float32), *parts]), axis=0)
    return notes[np.lexsort((notes[:, PART], notes[:, PITCH], notes[:, ONSET]))]


def crowds(notes: np.ndarray) -> tuple[int, ...]:
    """How many notes may sound within any stretch of 1, 2, 4, ... seconds, up to one that has all; () of none."""
    onsets = notes[:, ONSET].astype(np.float64)
    ends = onsets + notes[:, DURATION]
    found: list[int] = []
    while len(notes) and (not found or found[-1] < len(notes)) and len(found) < MAX_OCTAVES:
        # A note sounds within [s, s + length) where s is in (onset - length, end), or its onset.
        times = np.concatenate([onsets - 2.0 ** len(found), ends])
        changes = np.repeat([1, -1], len(notes))
        found.append(int(np.cumsum(changes[np.argsort(times, kind="stable")]).max()))
    return tuple(found)


def crowd(most: Sequence[int], seconds: float) -> int:
    """At least as many notes as sound within any stretch of so many seconds of a piece whose `crowds` are `most`."""
    octave = math.ceil(math.log2(max(seconds, 1.0)))
    return most[min(octave, len(most) - 1)] if most else 0


def rows_for(pieces: Iterable[Sequence[int]], seconds: float) -> int:
    """Rows of an array that holds the notes of any stretch of so many seconds of these pieces, given their `crowds`."""
    most = max((crowd(one, seconds) for one in pieces), default=0)
    return -(-max(most, 1) // ROWS_MULTIPLE) * ROWS_MULTIPLE


def window(notes: np.ndarray, begin: float, size: int) -> np.ndarray:
    """Notes [N, 5] as a model reads them: float32 [size, 5], times counted from `begin` in seconds, padded with zeros.

    Raises:
      UserError: there are more than `size`, which follows from what an index says.
    """
    if len(notes) > size:
        raise UserError(f"a window has {len(notes)} notes, the index promises {size} at most: extract the codes again")
    rows = np.zeros((size, 5), np.float32)
    rows[: len(notes)] = notes
    rows[: len(notes), ONSET] = notes[:, ONSET].astype(np.float64) - begin
    return rows
