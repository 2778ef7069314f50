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
MOST_LOST = 0.1  # share of a score's notes that may have no place on the grid, or less than half of theirs


@dataclasses.dataclass(frozen=True)
class GridTokens:
    """Translates between scores with a meter and tokens int16 [T, V]: T sixteenths from quarter 0 on, V voices.

    Token 0 is a rest, 1 holds the note before, 2 + n begins the pitch `lowest` + n. Without `holds` a note repeats its
    pitch's token as long as it sounds, as the published grids of chorales do: repeated notes are one long note then.
    Part v of the score is voice v where all of its notes have a place; else voices are found in the parts.

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

        Onsets and ends go to the nearest sixteenth, and every note has one at least. Where two notes of a part sound at
        once, or there are more parts than voices, the notes on the grid are `Score.voices`, in each part from the top,
        if these are few enough. Otherwise the nearest to a sixteenth of the notes of a part that begin in it stays; a
        note ends where the next of its part begins.

        Raises:
          UserError: the score has no meter, no room for its notes (more parts than voices, or more than MOST_LOST of
            them lost), a pitch out of range, or is too long.
        """
        inside = score.quarter_at(score.notes[:, ONSET].astype(np.float64)) * CELLS > -0.5
        notes, ends = score.notes[inside].astype(np.float64), score.ends[inside].astype(np.float64)
        cells = score.quarter_at(np.stack([notes[:, ONSET], ends])) * CELLS
        if cells.max(initial=0) > MAX_CELLS:
            raise UserError(f"the score is {cells.max():.0f} sixteenths long; at most {MAX_CELLS} fit on a grid")
        starts, ends = np.floor(cells + 0.5).astype(np.int64)
        ends = np.maximum(ends, starts + 1)
        nearest = np.lexsort((np.abs(cells[0] - starts), starts))  # of those of one sixteenth the nearest is the first
        rows = np.stack([starts, ends, np.round(notes[:, PITCH]).astype(np.int64), notes[:, PART].astype(np.int64)])
        return self._tokens(*self._grid(self._voiced(rows[:, nearest])))

    def _voiced(self, rows: np.ndarray) -> np.ndarray:
        """Notes on the grid, integers [4, N] (first cell, cell behind the last, pitch, part), with voices for parts."""
        starts, ends, pitches, parts = rows
        crowds = {int(part): _at_once(*rows[:2, parts == part]) for part in np.unique(parts)}
        num_parts = max(crowds, default=-1) + 1
        if max(crowds.values(), default=0) <= 1 and num_parts <= self.voices:
            return rows
        if sum(crowds.values()) <= self.voices:
            found = Score(np.stack([pitches, starts, ends - starts, np.full_like(starts, VELOCITY), parts], axis=1))
            voices = [voice for part in crowds for voice in _from_the_top(found.of_part(part))]
            numbers = np.repeat(np.arange(len(voices)), [len(voice) for voice in voices])
            pitch, start, length = np.concatenate(voices)[:, :3].astype(np.int64).T
            return np.stack([start, start + length, pitch, numbers])
        if num_parts > self.voices:
            raise UserError(f"the score has {num_parts} parts; a grid of {self.voices} voices takes no more")
        lost = _lost(starts, ends, parts) / len(starts)
        if lost > MOST_LOST:
            raise UserError(f"{lost:.0%} of the notes have no place in a grid of {self.voices} voices")
        return rows

    def _grid(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sounding pitches, integers [T, V], and whether a note begins, bool [T, V], of notes as `_voiced` has them."""
        pitches = np.full((rows[1].max(initial=0), self.voices), SILENT, np.int64)
        begins = np.zeros(pitches.shape, bool)
        for voice in range(self.voices):
            starts, ends, sung, _ = rows[:, rows[3] == voice]
            first = np.unique(starts, return_index=True)[1]  # of each sixteenth
            starts, ends, sung = starts[first], ends[first], sung[first]
            begins[starts, voice] = True
            lengths = np.minimum(ends, np.append(starts[1:], MAX_CELLS)) - starts
            covered = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
            pitches[covered, voice] = np.repeat(sung, lengths)
        length = len(pitches) - int((pitches != SILENT).any(axis=1)[::-1].argmax()) if len(pitches) else 0
        return pitches[:length], begins[:length]

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

    def struck(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens [T, V] whose last sixteenth begins what it held before."""
        tokens = np.array(tokens)
        pitches = self.to_pitches(tokens)[-1:]
        begun = self._tokens(pitches, pitches != SILENT)[-1]
        tokens[-1] = np.where(tokens[-1] == HOLD, begun, tokens[-1])
        return tokens

    def shifts(self, tokens: np.ndarray) -> range:
        """By how many semitones tokens [T, V] may be transposed without leaving the grid, 0 among them."""
        sung = self.to_pitches(tokens)
        sung = sung[sung != SILENT]
        if not len(sung):
            return range(self.lowest - self.highest, self.highest - self.lowest + 1)
        return range(self.lowest - int(sung.min()), self.highest - int(sung.max()) + 1)

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


def _at_once(starts: np.ndarray, ends: np.ndarray) -> int:
    """How many of the notes from `starts` to `ends`, cells, sound at once at most."""
    cells, changes = np.concatenate([ends, starts]), np.repeat([-1, 1], len(starts))
    return int(np.cumsum(changes[np.argsort(cells, kind="stable")]).max(initial=0))


def _lost(starts: np.ndarray, ends: np.ndarray, parts: np.ndarray) -> int:
    """How many notes begin with another of their part, or keep less than half of their cells when the next begins."""
    order = np.lexsort((starts, parts))
    starts, ends, parts = starts[order], ends[order], parts[order]
    first = np.append(True, (np.diff(starts) > 0) | (np.diff(parts) > 0))
    starts, ends, parts = starts[first], ends[first], parts[first]
    following = np.append(np.where(np.diff(parts) > 0, MAX_CELLS, starts[1:]), MAX_CELLS)
    cut = 2 * (following - starts) < ends - starts
    return int(np.sum(~first) + np.sum(cut))


def _from_the_top(notes: np.ndarray) -> list[np.ndarray]:
    """The monophonic voices of the notes [N, 5] of a part, the highest on average first."""
    return sorted(Score(notes).voices(), key=lambda voice: -voice[:, PITCH].mean())


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
