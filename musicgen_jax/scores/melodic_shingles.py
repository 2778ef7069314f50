"""What a score is made of, whatever its key, its tempo and its instruments: runs of melodic intervals.

Of each part the highest notes, onset by onset, are a melody; a shingle is SHINGLE intervals of it in a row. Shifting
all pitches, changing the tempo, renaming or reordering tracks changes no shingle; another track adds some, a track less
takes some away. Hashes of shingles are the features by which `data/near_duplicates.py` finds scores of the same music.
"""

import numpy as np

from musicgen_jax.scores.score import ONSET, PITCH, Score

SHINGLE = 10  # intervals
MIN_DIFFERENT = 4  # of them: scales, trills and repeated notes stand in all music
MAX_INTERVAL = 31  # semitones; wider ones count as this
ALIKE = 0.25  # share of the shingles of two scores that both have, from which on they are versions of one music
TOGETHER = 1 / 12  # of a quarter: notes that begin within it are one chord
_BASE = 2 * MAX_INTERVAL + 2


def of(score: Score) -> np.ndarray:
    """The shingles of all parts, uint64 [N], in order of the parts, repetitions included."""
    parts = [_melody(score, score.of_part(part)) for part in range(score.num_parts)]
    return np.concatenate([np.zeros(0, np.uint64), *map(_shingles, parts)])


def _melody(score: Score, notes: np.ndarray) -> np.ndarray:
    """Pitches, int [M], of the highest note of each chord of a part's notes [N, 5], which are in order of onset."""
    if not len(notes):
        return np.zeros(0, np.int64)
    onsets = notes[:, ONSET].astype(np.float64)
    times = score.quarter_at(onsets) if score.quarters is not None else onsets * 2
    begins = np.flatnonzero(np.diff(times, prepend=-np.inf) > TOGETHER)
    return np.round(np.maximum.reduceat(notes[:, PITCH], begins)).astype(np.int64)


def _shingles(melody: np.ndarray) -> np.ndarray:
    intervals = np.clip(np.diff(melody), -MAX_INTERVAL, MAX_INTERVAL) + MAX_INTERVAL
    if len(intervals) < SHINGLE:
        return np.zeros(0, np.uint64)
    runs = np.lib.stride_tricks.sliding_window_view(intervals, SHINGLE)
    ordered = np.sort(runs, axis=1)
    told = runs[1 + (np.diff(ordered, axis=1) > 0).sum(axis=1) >= MIN_DIFFERENT]
    # 64 values of an interval, ten of them: exact in 60 bits.
    return told.astype(np.uint64) @ (np.uint64(_BASE) ** np.arange(SHINGLE, dtype=np.uint64))
