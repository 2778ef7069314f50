"""Scores as the codes of the stream `score`: one vocabulary, and how it is augmented, for each word of a config."""

from typing import Protocol

import numpy as np

from musicgen_jax import config
from musicgen_jax.scores import grid, performance_events
from musicgen_jax.scores.score import MAX_PITCH, Score

LONGEST_NOTE = 10.0  # seconds, of a performance that is composed: a model that forgets to end a note leaves no drone


class Tokens(Protocol):
    """A vocabulary. Codes are int16 [T], whole frames of a step in time.

    Attributes:
      num_codes: its size.
      num_first: how many codes of a piece show whether it can begin like this.
    """

    num_codes: int
    num_first: int

    def can_begin(self, codes: np.ndarray) -> np.ndarray:
        """Bool [N]: whether pieces that begin with these codes [N, num_first] sound at once, as those of training do,
        see `Score.from_first_note`, and neither hold nor end what is not there yet."""

    def encode(self, score: Score) -> np.ndarray:
        """The codes of a score. Raises UserError where it cannot be told in this vocabulary."""

    def decode(self, codes: np.ndarray, quarter_seconds: float) -> Score:
        """The score of codes; `quarter_seconds` is the tempo of codes that have none."""

    def shifts(self, codes: np.ndarray) -> range:
        """By how many semitones the codes of a piece may be transposed, 0 among them."""

    def transposed(self, codes: np.ndarray, semitones: int) -> np.ndarray:
        """The codes of the same music `semitones` higher, which `shifts` of the piece must have."""


class Grid:
    """Four voices by turns on a grid of sixteenths; see `scores.grid`."""

    def __init__(self, model: config.ComposerConfig):
        self._grid = grid.GridTokens(model.voices, model.lowest_pitch, model.highest_pitch)
        self.num_codes, self.num_first = self._grid.num_tokens, model.voices

    def can_begin(self, codes: np.ndarray) -> np.ndarray:
        return np.any(codes >= grid.FIRST_PITCH, axis=1) & ~np.any(codes == grid.HOLD, axis=1)

    def encode(self, score: Score) -> np.ndarray:
        return self._grid.encode(score).reshape(-1)

    def decode(self, codes: np.ndarray, quarter_seconds: float) -> Score:
        return self._grid.decode(codes.reshape(-1, self._grid.voices), quarter_seconds)

    def struck(self, codes: np.ndarray) -> np.ndarray:
        """The codes, whole steps; what the last one holds begins in it."""
        return self._grid.struck(codes.reshape(-1, self._grid.voices)).reshape(-1)

    def shifts(self, codes: np.ndarray) -> range:
        return self._grid.shifts(codes.reshape(-1, self._grid.voices))

    def transposed(self, codes: np.ndarray, semitones: int) -> np.ndarray:
        return self._grid.transposed(codes, semitones)


class Performance:
    """Keys down and up, time and loudness; see `scores.performance_events`."""

    num_codes = performance_events.NUM_TOKENS
    num_first = 2

    def __init__(self, model: config.ComposerConfig):
        del model  # there is one such vocabulary

    def can_begin(self, codes: np.ndarray) -> np.ndarray:
        down, loudness = codes < performance_events.NOTE_OFF, codes >= performance_events.LOUDNESS
        return down[:, 0] | (loudness[:, 0] & down[:, 1])

    def encode(self, score: Score) -> np.ndarray:
        return performance_events.encode(score)

    def decode(self, codes: np.ndarray, quarter_seconds: float) -> Score:
        return performance_events.decode(codes, LONGEST_NOTE)

    def shifts(self, codes: np.ndarray) -> range:
        pitches = codes[codes < performance_events.SHIFT] % performance_events.NOTE_OFF
        if not len(pitches):
            return range(1)
        return range(-int(pitches.min()), MAX_PITCH - int(pitches.max()) + 1)

    def transposed(self, codes: np.ndarray, semitones: int) -> np.ndarray:
        return np.where(codes < performance_events.SHIFT, codes + semitones, codes).astype(np.int16)


def of(model: config.ComposerConfig) -> Tokens:
    """The vocabulary of a composer."""
    return {"grid": Grid, "performance": Performance}[model.tokens](model)
