"""Performances as the 388 events of the Music Transformer (Huang et al. 2019), in the order of note-seq.

Tokens 0 to 127 begin a pitch, 128 to 255 end one, 256 to 355 let 1 to 100 steps of 10 ms pass, 356 to 387 set the
velocity of the notes to come to one of 32 steps of 4.
"""

import collections

import numpy as np

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import MAX_PITCH, ONSET, PITCH, VELOCITY, Score

STEPS_PER_SECOND = 100
MAX_SHIFT = 100  # steps of one event
BIN_WIDTH = 4  # velocities
NOTE_ON, NOTE_OFF, SHIFT, LOUDNESS = 0, 128, 256, 356  # the first token of each kind
NUM_TOKENS = 388
DEFAULT_BIN = 16  # mezzo forte, where tokens begin without a velocity
MAX_STEPS = 24 * 3600 * STEPS_PER_SECOND


def encode(score: Score) -> np.ndarray:
    """Events of a score, of all its parts together; `midi.read(..., apply_sustain=True)` reads performances for it.

    Times go to the nearest step of 10 ms, counted from second 0, so that rounding errors do not add up; a note lasts a
    step at least. What sounds before second 0 is cut there.

    Returns:
      int16 [L].

    Raises:
      UserError: it lasts longer than a day.
    """
    if score.notes[:, ONSET].min(initial=0) < 0:
        score = score.clipped(np.inf)
    if score.seconds > MAX_STEPS / STEPS_PER_SECOND:
        raise UserError(f"the score is {score.seconds:.0f} s long; events are made of a day at most")
    if score.empty:
        return np.zeros(0, np.int16)
    pitches = np.round(score.notes[:, PITCH]).astype(np.int64)
    bins = (np.round(score.notes[:, VELOCITY]).astype(np.int64) - 1) // BIN_WIDTH
    onsets, ends = steps(score.notes[:, ONSET]), steps(score.ends)
    ends = np.where(ends == onsets, onsets + 1, ends)
    # Within a step notes come in their order, each one's beginning before its end.
    count = len(pitches)
    moments, numbers = np.concatenate([onsets, ends]), np.tile(np.arange(count), 2)
    is_end = np.repeat([False, True], count)
    order = np.lexsort((is_end, numbers, moments))
    moments, numbers, is_end = moments[order], numbers[order], is_end[order]
    waits = np.diff(moments, prepend=0)
    shifts = -(-waits // MAX_SHIFT)  # events that this wait takes
    changes = np.zeros(2 * count, bool)
    changes[~is_end] = np.diff(bins[numbers[~is_end]], prepend=-1) != 0
    last = np.cumsum(shifts + changes + 1) - 1  # place of the event of each note's beginning or end
    events = np.full(last[-1] + 1, SHIFT + MAX_SHIFT - 1, np.int16)
    events[last] = pitches[numbers] + np.where(is_end, NOTE_OFF, NOTE_ON)
    events[(last - 1)[changes]] = LOUDNESS + bins[numbers[changes]]
    waited = shifts > 0
    events[(last - changes - 1)[waited]] = SHIFT + (waits - (shifts - 1) * MAX_SHIFT)[waited] - 1
    return events


def steps(seconds: np.ndarray) -> np.ndarray:
    """The nearest steps, int64, the later one of two that are equally near."""
    return np.floor(seconds.astype(np.float64) * STEPS_PER_SECOND + 0.5).astype(np.int64)


def decode(events: np.ndarray, max_seconds: float = np.inf) -> Score:
    """The score of events, in one part: whatever events there are, as a model may draw them.

    Of notes of one pitch the first to begin is the first to end. An end without a beginning is passed over, and so is
    a note that ends in the step in which it began. Notes that are never ended end with the last event.

    Args:
      events: integers [L].
      max_seconds: longer notes end then: a model that forgets to end them leaves no drone.

    Raises:
      UserError: another shape, unknown events, or more than a day of music.
    """
    events = np.asarray(events)
    if events.ndim != 1:
        raise UserError(f"events have shape [L]; got {list(events.shape)}")
    if events.size and (events.min() < 0 or events.max() >= NUM_TOKENS):
        raise UserError(f"events are from 0 to {NUM_TOKENS - 1}; got {events.min()}, {events.max()}")
    events = events.astype(np.int64)
    waits = np.where((events >= SHIFT) & (events < LOUDNESS), events - SHIFT + 1, 0)
    moments = np.cumsum(waits)
    if moments.size and moments[-1] > MAX_STEPS:
        raise UserError(f"the events last {moments[-1] / STEPS_PER_SECOND:.0f} s; a day at most is read")
    rows, sounding = [], collections.defaultdict(collections.deque)
    loudness = DEFAULT_BIN
    for event, step in zip(events.tolist(), moments.tolist(), strict=True):
        if event <= MAX_PITCH:
            sounding[event].append((step, 1 + BIN_WIDTH * loudness))
        elif event < SHIFT:
            if sounding[event - NOTE_OFF]:
                rows.append((event - NOTE_OFF, *sounding[event - NOTE_OFF].popleft(), step))
        elif event >= LOUDNESS:
            loudness = event - LOUDNESS
    for pitch, notes in sounding.items():
        rows += [(pitch, *note, moments[-1]) for note in notes]
    pitches, onsets, velocities, ends = np.array(rows, np.int64).reshape(-1, 4).T
    times = (np.stack([onsets, ends]) / STEPS_PER_SECOND).astype(np.float32)
    durations = np.minimum(times[1] - times[0], np.float32(max_seconds))
    table = np.stack([pitches, times[0], durations, velocities, np.zeros(len(pitches))], axis=1)
    return Score(table[ends > onsets])
