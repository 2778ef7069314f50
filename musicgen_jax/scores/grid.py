"""Scores as voices on a grid of sixteenths: tokens that say for every voice and sixteenth what begins or goes on."""

import dataclasses

import numpy as np

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import ONSET, PART, PITCH, Score

REST, HOLD = 0, 1
FIRST_PITCH = 2  # the token of the lowest pitch
CELLS = 4  # a quarter
MAX_CELLS = 1 << 20  # 36 hours in common time
VELOCITY = 100
SILENT = -1  # in a grid of pitches
# Compass of each voice in Bach's chorales, from the top: lowest and highest pitch of the published corpus.
CHORALE_RANGES = ((60, 81), (52, 74), (46, 69), (36, 66))


@dataclasses.dataclass(frozen=True)
class GridTokens:
    """Translates between scores with a meter and tokens int16 [T, V]: T sixteenths from quarter 0 on, V voices.

    Token 0 is a rest, 1 holds the note before, 2 + n begins the pitch `lowest` + n. Without `holds` a note repeats its
    pitch's token as long as it sounds, as the published grids of chorales do: repeated notes are one long note then.
    Part v of the score is voice v.

    Attributes:
      voices: V.
      lowest: MIDI pitch that has the first token of a pitch.
      highest: MIDI pitch that has the last one.
      holds: whether there is a token that holds.
    """

    voices: int = 4
    lowest: int = 36
    highest: int = 81
    holds: bool = True

    @property
    def num_tokens(self) -> int:
        """Size of the vocabulary."""
        return FIRST_PITCH + self.highest - self.lowest + 1

    def encode(self, score: Score) -> np.ndarray:
        """Tokens [T, V] of a score, until nothing sounds any more.

        Onsets and ends go to the nearest sixteenth, and every note has one at least. Of several notes of a voice that
        begin in one sixteenth the nearest to it stays; a note ends where the next of its voice begins.

        Raises:
          UserError: the score has no meter, more parts than voices, a pitch out of range, or is too long.
        """
        if score.num_parts > self.voices:
            raise UserError(f"the score has {score.num_parts} parts; a grid of {self.voices} voices takes no more")
        inside = score.quarter_at(score.notes[:, ONSET].astype(np.float64)) * CELLS > -0.5
        notes, ends = score.notes[inside].astype(np.float64), score.ends[inside].astype(np.float64)
        cells = score.quarter_at(np.stack([notes[:, ONSET], ends])) * CELLS
        if cells.max(initial=0) > MAX_CELLS:
            raise UserError(f"the score is {cells.max():.0f} sixteenths long; at most {MAX_CELLS} fit on a grid")
        starts, ends = np.floor(cells + 0.5).astype(np.int64)
        ends = np.maximum(ends, starts + 1)
        pitches = np.full((ends.max(initial=0), self.voices), SILENT, np.int64)
        begins = np.zeros(pitches.shape, bool)
        nearest = np.lexsort((np.abs(cells[0] - starts), starts))
        for voice in range(self.voices):
            mine = nearest[notes[nearest, PART] == voice]
            mine = mine[np.unique(starts[mine], return_index=True)[1]]  # the first, hence nearest, of each sixteenth
            begins[starts[mine], voice] = True
            lengths = np.minimum(ends[mine], np.append(starts[mine][1:], MAX_CELLS)) - starts[mine]
            covered = np.repeat(starts[mine] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
            pitches[covered, voice] = np.repeat(np.round(notes[mine, PITCH]).astype(np.int64), lengths)
        length = len(pitches) - int((pitches != SILENT).any(axis=1)[::-1].argmax()) if len(pitches) else 0
        return self._tokens(pitches[:length], begins[:length])

    def from_pitches(self, pitches: np.ndarray) -> np.ndarray:
        """Tokens [T, V] of a grid of sounding pitches, integers [T, V], -1 where a voice is silent.

        Such a grid does not say whether an equal pitch is struck again: it is held.
        """
        pitches = np.asarray(pitches)
        before = np.concatenate([np.full_like(pitches[:1], SILENT), pitches[:-1]])
        return self._tokens(pitches, pitches != before)

    def to_pitches(self, tokens: np.ndarray) -> np.ndarray:
        """Sounding pitches int16 [T, V] of tokens [T, V], -1 where a voice is silent."""
        return self._sounding(tokens)[0]

    def _tokens(self, pitches: np.ndarray, begins: np.ndarray) -> np.ndarray:
        sounding = pitches != SILENT
        wrong = pitches[sounding & ((pitches < self.lowest) | (pitches > self.highest))]
        if len(wrong):
            self._refuse(wrong[0])
        held = HOLD if self.holds else pitches - self.lowest + FIRST_PITCH
        tokens = np.where(begins, pitches - self.lowest + FIRST_PITCH, held)
        return np.where(sounding, tokens, REST).astype(np.int16)

    def _sounding(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sounding pitches int16 [T, V] and whether a note begins, bool [T, V]."""
        tokens = np.asarray(tokens)
        if tokens.ndim != 2 or tokens.shape[1] != self.voices:
            raise UserError(f"tokens of a grid have shape [T, {self.voices}]; got {list(tokens.shape)}")
        if tokens.size and (tokens.min() < 0 or tokens.max() >= self.num_tokens):
            raise UserError(
                f"tokens of this grid are from 0 to {self.num_tokens - 1}; got {tokens.min()}, {tokens.max()}"
            )
        # The cell in which what sounds was said; a hold at the very beginning holds nothing.
        said = np.maximum.accumulate(np.where(tokens == HOLD, 0, np.arange(len(tokens))[:, None]), axis=0)
        said = np.take_along_axis(tokens, said, axis=0) if len(tokens) else tokens
        pitches = np.where(said >= FIRST_PITCH, said - FIRST_PITCH + self.lowest, SILENT).astype(np.int16)
        begins = (tokens >= FIRST_PITCH) & (pitches != SILENT)
        if not self.holds:
            begins[1:] &= pitches[1:] != pitches[:-1]
        return pitches, begins

    def decode(self, tokens: np.ndarray, quarter_seconds: float, velocity: float = VELOCITY) -> Score:
        """The score of tokens [T, V] at a steady tempo; a hold after a rest, or at the beginning, rests.

        Args:
          tokens: integers [T, V].
          quarter_seconds: how long a quarter lasts.
          velocity: of every note.

        Raises:
          UserError: another shape, unknown tokens, or a tempo that is none.
        """
        if not 0 < quarter_seconds < np.inf:
            raise UserError(f"quarter_seconds is {quarter_seconds}; a quarter lasts a positive number of seconds")
        pitches, begins = self._sounding(tokens)
        changes = begins | np.concatenate([np.zeros_like(begins[:1]), pitches[1:] != pitches[:-1]])
        rows = []
        for voice in range(self.voices):
            starts = np.flatnonzero(begins[:, voice])
            cells = np.append(np.flatnonzero(changes[:, voice]), len(pitches))
            ends = cells[np.searchsorted(cells, starts, side="right")]
            times = np.stack([starts, ends - starts]) * (quarter_seconds / CELLS)
            same = np.full((2, len(starts)), [[velocity], [voice]])
            rows.append(np.stack([pitches[starts, voice], *times, *same], axis=1))
        quarters = np.arange(max(2, -(-len(pitches) // CELLS) + 1)) * quarter_seconds
        return Score(np.concatenate(rows), quarters)

    def shifts(self, tokens: np.ndarray, ranges: tuple[tuple[int, int], ...] | None = None) -> range:
        """By how many semitones tokens [T, V] may be transposed, 0 among them.

        Args:
          tokens: integers [T, V].
          ranges: lowest and highest pitch of each voice, CHORALE_RANGES for example; None for those of the grid.
        """
        down, up = self.lowest - self.highest, self.highest - self.lowest
        pitches = self.to_pitches(tokens)
        for voice in range(self.voices):
            lowest, highest = ranges[voice] if ranges else (self.lowest, self.highest)
            sung = pitches[pitches[:, voice] != SILENT, voice]
            if len(sung):
                down = max(down, max(lowest, self.lowest) - int(sung.min()))
                up = min(up, min(highest, self.highest) - int(sung.max()))
        return range(min(down, 0), max(up, 0) + 1)

    def transposed(self, tokens: np.ndarray, semitones: int) -> np.ndarray:
        """Tokens int16, of any shape, of the same music `semitones` higher; those of an excerpt may begin with a hold.

        Raises UserError where a pitch leaves the range of the grid.
        """
        tokens = np.asarray(tokens, np.int64)
        moved = np.where(tokens >= FIRST_PITCH, tokens + semitones, tokens)
        wrong = moved[(tokens >= FIRST_PITCH) & ((moved < FIRST_PITCH) | (moved >= self.num_tokens))]
        if len(wrong):
            self._refuse(wrong[0] - FIRST_PITCH + self.lowest)
        return moved.astype(np.int16)

    def _refuse(self, pitch: int) -> None:
        raise UserError(f"pitch {pitch} is out of range: the grid has MIDI {self.lowest} to {self.highest}")


def places(score: Score, length: int) -> np.ndarray:
    """Where in the meter each sixteenth of a grid lies: what a composer is told of the position that it fills.

    Args:
      score: with quarters.
      length: T, sixteenths from quarter 0 on.

    Returns:
      int16 [T, 3]: sixteenth within the quarter (0 to 3); sixteenths since the bar began (-1 where no bars are known);
      1 under a fermata, 0 elsewhere.
    """
    cells = np.arange(length)
    result = np.stack([cells % CELLS, np.full(length, -1), np.zeros(length, int)], axis=1)
    if score.bars is not None and len(score.bars):
        bars = np.round(score.bars * CELLS)
        index = np.searchsorted(bars, cells, side="right") - 1
        result[:, 1] = np.where(index >= 0, cells - bars[np.maximum(index, 0)], -1)
    for start, end in np.round(score.quarter_at(score.fermatas.astype(np.float64)) * CELLS).astype(int):
        result[max(0, start) : max(0, end), 2] = 1
    return result.astype(np.int16)
