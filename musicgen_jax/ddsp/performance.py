"""A score of any length, played window by window: memory for one window, whatever the length."""

from collections.abc import Iterator

import numpy as np

from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.scores.score import ONSET, Score

WINDOW_SECONDS = 18  # in which the notes of a window begin; with what they sound longer, most fill one bucket


def blocks(score: Score, timbre: timbres.Timbre, seconds: float, sample_rate: int) -> Iterator[np.ndarray]:
    """Plays a score of any number of parts, as loud as its notes are; see `synthesizer.gain` for a set loudness.

    A note is played whole, with those that begin in the same window, and the windows are added up where they overlap.

    Args:
      score: what sounds from second 0 on.
      timbre: for all parts.
      seconds: length of the result; what sounds later is cut off.
      sample_rate: Hz.

    Yields:
      float32 arrays, round(seconds * sample_rate) samples together.

    Raises:
      UserError: `seconds` not positive, too many notes at once, or `sample_rate` too low for the control rate.
    """
    score, size = score.clipped(seconds), WINDOW_SECONDS * sample_rate
    num_samples = round(seconds * sample_rate)
    sounding = np.zeros(0, np.float32)  # of notes of windows before, from the window's beginning on
    for index in range(-(-num_samples // size)):
        start = index * WINDOW_SECONDS
        begun = (score.notes[:, ONSET] >= start) & (score.notes[:, ONSET] < start + WINDOW_SECONDS)
        window = Score(score.notes[begun] - np.float32([0, start, 0, 0, 0]))
        played = _played(window, timbre, sample_rate)
        audio = np.zeros(max(len(played), len(sounding), size), np.float32)
        audio[: len(sounding)] = sounding
        audio[: len(played)] += played
        yield audio[: min(size, num_samples - index * size)]
        sounding = audio[size:]


def _played(window: Score, timbre: timbres.Timbre, sample_rate: int) -> np.ndarray:
    if window.empty:
        return np.zeros(0, np.float32)
    # At least a sample: a note may have no length.
    return synthesizer.unleveled(window, timbre, max(window.seconds, 1 / sample_rate), sample_rate)
