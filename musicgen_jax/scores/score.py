"""A score: which notes sound when, and the meter where it is known. Every reader, writer and tokenizer meets here."""

import dataclasses

import numpy as np

from musicgen_jax.runtime.errors import UserError

COLUMNS = ("pitch", "onset", "duration", "velocity", "part")
PITCH, ONSET, DURATION, VELOCITY, PART = range(5)
MAX_PITCH = 127
MAX_VELOCITY = 127
MAX_PARTS = 1 << 16
MAX_VOICES = 512  # of a part: far more notes at once than an instrument plays
EARLY_QUARTERS = 1 / 8  # half a sixteenth, by which a note of a quarter may begin before it
OVERLAP_SECONDS = 1e-3  # by which two notes of one voice may overlap: less than anybody hears


@dataclasses.dataclass(frozen=True, eq=False)
class Score:
    """Notes in seconds; the constructor sorts them and makes arrays of lists.

    Attributes:
      notes: float32 [N, 5], a row a note: MIDI pitch in [0, 127] (fractions allowed), onset and duration in seconds,
        velocity in [1, 127] (fractions allowed), 0-based index of the part. Sorted by onset, then pitch, then part. An
        onset is negative where a note began before the excerpt that the score is.
      quarters: float64 [M], the time in seconds of each quarter note, increasing, M >= 2; None where no meter is known.
      bars: float64 [K], the positions at which bars begin, counted in quarters: k is the time `quarters[k]`. Positions
        before the first quarter are negative: a bar of which only the upbeat is played. None where none are known.
      fermatas: float32 [F, 2], start and end in seconds of each stretch of time under a fermata; may be empty.
      syllables: (second, text) of each syllable that is sung, in the order of time, where there are words; the last one
        of a word has the space behind it, so that the texts one after the other are the words.

    Raises:
      UserError: an array of another shape, a number out of range or not finite.
    """

    notes: np.ndarray
    quarters: np.ndarray | None = None
    bars: np.ndarray | None = None
    fermatas: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2), np.float32))
    syllables: tuple[tuple[float, str], ...] = ()

    def __post_init__(self) -> None:
        notes = _array(self.notes, np.float32, (-1, 5), "notes")
        _require_playable(notes)
        object.__setattr__(self, "notes", _sorted(notes))
        object.__setattr__(self, "fermatas", _array(self.fermatas, np.float32, (-1, 2), "fermatas"))
        if self.syllables:
            syllables = tuple((float(second), text) for second, text in self.syllables)
            object.__setattr__(self, "syllables", tuple(sorted(syllables, key=lambda syllable: syllable[0])))
        if self.quarters is not None:
            object.__setattr__(self, "quarters", _array(self.quarters, np.float64, (-1,), "quarters"))
            if len(self.quarters) < 2 or not (np.diff(self.quarters) > 0).all():
                raise UserError("the quarters of a score must be at least two, each later than the one before")
        if self.bars is not None:
            object.__setattr__(self, "bars", _array(self.bars, np.float64, (-1,), "bars"))
            if self.quarters is None or not (np.diff(self.bars) > 0).all():
                raise UserError("the bars of a score must increase, and need its quarters, in which they are counted")

    @property
    def seconds(self) -> float:
        """End of the last note; 0 where there is none."""
        return max(0.0, float(self.ends.max())) if len(self.notes) else 0.0

    @property
    def ends(self) -> np.ndarray:
        """When each note ends, float32 [N], in seconds."""
        return self.notes[:, ONSET] + self.notes[:, DURATION]

    @property
    def empty(self) -> bool:
        """Whether there are no notes."""
        return len(self.notes) == 0

    @property
    def num_parts(self) -> int:
        """One more than the highest index of a part; 0 where there are no notes."""
        return int(self.notes[:, PART].max()) + 1 if len(self.notes) else 0

    def of_part(self, index: int) -> np.ndarray:
        """Notes of one part, float32 [N, 5]."""
        return self.notes[self.notes[:, PART] == index]

    def cut(self, start: float, stop: float) -> "Score":
        """What sounds within [start, stop) seconds; times are counted from `start`.

        Notes stay whole: one that sounds already has a negative onset, another may end after `stop` (`clipped` trims
        them). Of the quarters remain those from the last one until `start` to the first one from `stop` on.
        """
        starts = self.notes[:, ONSET]
        inside = (starts < stop) & ((self.ends > start) | (starts >= start))
        notes = self.notes[inside] - np.float32([0, start, 0, 0, 0])
        held = (self.fermatas[:, 0] < stop) & (self.fermatas[:, 1] > start)
        quarters, bars = self._cut_meter(start, stop)
        syllables = tuple((second - start, text) for second, text in self.syllables if start <= second < stop)
        return Score(notes, quarters, bars, self.fermatas[held] - np.float32(start), syllables)

    def _cut_meter(self, start: float, stop: float) -> tuple[np.ndarray | None, np.ndarray | None]:
        if self.quarters is None:
            return None, None
        first = int(np.floor(self.quarter_at(start)))
        last = max(int(np.ceil(self.quarter_at(stop))), first + 1)
        quarters = self.second_at(np.arange(first, last + 1)) - start
        if self.bars is None:
            return quarters, None
        first_bar = max(0, int(np.searchsorted(self.bars, first, side="right")) - 1)
        return quarters, self.bars[first_bar : np.searchsorted(self.bars, last)] - first

    def from_first_note(self) -> "Score":
        """Without the silence before the first note: of a score with quarters, without whole quarters of it."""
        if self.empty:
            return self
        start = float(self.notes[:, ONSET].min())
        if self.quarters is not None:
            start = float(self.second_at(np.floor(self.quarter_at(start) + EARLY_QUARTERS)))
        return self.cut(start, self.seconds) if start > 0 else self

    def clipped(self, seconds: float) -> "Score":
        """The part of every note that lies within [0, seconds]; notes outside of it go. The meter stays as it is."""
        starts = np.maximum(self.notes[:, ONSET], 0)
        ends = np.minimum(self.ends, np.float32(seconds))
        notes = self.notes.copy()
        notes[:, ONSET], notes[:, DURATION] = starts, np.maximum(ends - starts, 0)
        inside = (ends > starts) | ((self.notes[:, DURATION] == 0) & (self.notes[:, ONSET] == starts))
        fermatas = np.clip(self.fermatas, 0, np.float32(seconds))
        kept = notes[inside & (starts < seconds)]
        syllables = tuple(syllable for syllable in self.syllables if 0 <= syllable[0] < seconds)
        fermatas = fermatas[fermatas[:, 1] > fermatas[:, 0]]
        return dataclasses.replace(self, notes=kept, fermatas=fermatas, syllables=syllables)

    def transposed(self, semitones: float) -> "Score":
        """Every note `semitones` higher. Raises UserError where one would leave the range of MIDI."""
        return dataclasses.replace(self, notes=self.notes + np.float32([semitones, 0, 0, 0, 0]))

    def stretched(self, factor: float) -> "Score":
        """Every time `factor` times as long: 2 is half the tempo. Raises UserError unless it is positive and finite."""
        if not 0 < factor < np.inf:
            raise UserError(f"factor is {factor}; a score is stretched by a positive number")
        notes = (self.notes * np.float64([1, factor, factor, 1, 1])).astype(np.float32)
        quarters = None if self.quarters is None else self.quarters * factor
        syllables = tuple((factor * second, text) for second, text in self.syllables)
        fermatas = (self.fermatas * np.float64(factor)).astype(np.float32)
        return Score(notes, quarters, self.bars, fermatas, syllables)

    def second_at(self, position: np.ndarray | float) -> np.ndarray:
        """Time in seconds, float64, of positions in quarters; beyond the known quarters in the tempo at their end.

        Raises UserError where the score has no quarters.
        """
        return _extended(np.asarray(position, np.float64), np.arange(len(self._meter())), self._meter())

    def quarter_at(self, second: np.ndarray | float) -> np.ndarray:
        """Position in quarters, float64, of times in seconds: the inverse of `second_at`."""
        return _extended(np.asarray(second, np.float64), self._meter(), np.arange(len(self._meter())))

    def _meter(self) -> np.ndarray:
        if self.quarters is None:
            raise UserError("the score has no quarters: nothing is known of its meter")
        return self.quarters

    def voices(self) -> list[np.ndarray]:
        """Monophonic voices for the synthesizer, part by part.

        A note of a part goes to the free voice of it whose last note is nearest in pitch; a new voice begins where none
        is free. So a monophonic part is one voice, and there are no more voices than notes that sound at once.

        Returns:
          float32 [N, 4] a voice, a row a note in order of onset: pitch, onset, duration, velocity in (0, 1].

        Raises:
          UserError: more than MAX_VOICES notes of one part at once.
        """
        voices: list[np.ndarray] = []
        for part in np.unique(self.notes[:, PART]):
            rows = self.of_part(part)[:, :PART]
            rows[:, VELOCITY] /= MAX_VELOCITY
            numbers = _assigned(rows)
            voices += [rows[numbers == number] for number in range(numbers.max() + 1)]
        return voices


def of_voices(voices: list[np.ndarray], **meter: np.ndarray | None) -> Score:
    """The score whose parts are the given voices: the inverse of `Score.voices` where every part is monophonic.

    Args:
      voices: float32 [N, 4] each: pitch, onset, duration, velocity in (0, 1].
      **meter: `quarters`, `bars`, `fermatas`, `syllables`, as in `Score`.
    """
    scale = np.float32([1, 1, 1, MAX_VELOCITY])
    rows = [
        np.column_stack([voice[:, :4] * scale, np.full(len(voice), part, np.float32)])
        for part, voice in enumerate(voices)
    ]
    return Score(np.concatenate(rows) if rows else np.zeros((0, 5)), **meter)


def _array(values: np.ndarray, dtype: type, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = np.asarray(values, dtype)
    if array.size == 0 and array.ndim <= len(shape):
        array = np.zeros([max(size, 0) for size in shape], dtype)
    if array.ndim != len(shape) or any(
        size not in (-1, length) for size, length in zip(shape, array.shape, strict=True)
    ):
        raise UserError(f"the {name} of a score have shape {array.shape}; expected {list(shape)}, -1 for any length")
    if not np.isfinite(array).all():
        raise UserError(f"the {name} of a score hold numbers that are not finite")
    return array


def _sorted(notes: np.ndarray) -> np.ndarray:
    """Notes [N, 5] by onset, pitch, part; most are sorted already, which takes a tenth of the time to see."""
    in_order = np.ones(max(0, len(notes) - 1), bool)
    for column in (PART, PITCH, ONSET):
        before, after = notes[:-1, column], notes[1:, column]
        in_order = (before < after) | ((before == after) & in_order)
    if in_order.all():
        return notes
    return notes[np.lexsort((notes[:, PART], notes[:, PITCH], notes[:, ONSET]))]


def _require_playable(notes: np.ndarray) -> None:
    """Raises UserError where a column of notes [N, 5] leaves its range."""
    rules = (
        (PITCH, 0, MAX_PITCH, f"from 0 to {MAX_PITCH}"),
        (DURATION, 0, np.inf, "0 or more seconds"),
        (VELOCITY, 1, MAX_VELOCITY, f"from 1 to {MAX_VELOCITY}"),
        (PART, 0, MAX_PARTS, f"from 0 to {MAX_PARTS}"),
    )
    for column, least, most, rule in rules:
        wrong = np.flatnonzero((notes[:, column] < least) | (notes[:, column] > most))
        if len(wrong):
            pitch, onset = notes[wrong[0], PITCH], notes[wrong[0], ONSET]
            raise UserError(
                f"{COLUMNS[column]} out of range: {notes[wrong[0], column]:g} in the note of pitch {pitch:g} at "
                f"{onset:.2f} s; it must be {rule}"
            )


def _extended(x: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Piecewise linear through (knots, values), with the slope of the first and last piece beyond them."""
    index = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    slope = (values[index + 1] - values[index]) / (knots[index + 1] - knots[index])
    return values[index] + (x - knots[index]) * slope


def _assigned(rows: np.ndarray) -> np.ndarray:
    """Number of the voice of each note, int [N]; rows [N, 4] are in order of onset."""
    pitches: list[float] = []  # of the last note of each voice
    ends: list[float] = []
    numbers = np.zeros(len(rows), np.int64)
    for index, (pitch, onset, duration, _) in enumerate(rows.tolist()):
        free = [number for number, end in enumerate(ends) if end <= onset + OVERLAP_SECONDS]
        if free:
            number = min(free, key=lambda number: abs(pitches[number] - pitch))
            pitches[number], ends[number] = pitch, onset + duration
        else:
            number = len(ends)
            if number == MAX_VOICES:
                raise UserError(f"more than {MAX_VOICES} notes at once in one part, at {onset:.2f} s")
            pitches.append(pitch)
            ends.append(onset + duration)
        numbers[index] = number
    return numbers
