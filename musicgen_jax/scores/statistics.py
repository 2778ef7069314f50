"""Figures of a score that tell whether it could be music of a kind: how dense, how high, in which key, which steps."""

import numpy as np

from musicgen_jax.scores.score import DURATION, ONSET, PITCH, Score

_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_HARMONIC_MINOR = (0, 2, 3, 5, 7, 8, 11)
# Pitch classes of the 24 keys, bool [24, 12].
KEYS = np.array([np.isin(np.arange(12), (np.array(s) + k) % 12) for s in (_MAJOR, _HARMONIC_MINOR) for k in range(12)])
MOTIF_STEPS = 5
LARGEST_INTERVAL = 12  # semitones; larger ones count as that


def pitch_classes(score: Score) -> np.ndarray:
    """Share of the sounding time of each pitch class from C up, float64 [12]; zeros for a score without notes."""
    classes = np.round(score.notes[:, PITCH]).astype(int) % 12
    seconds = np.bincount(classes, weights=score.notes[:, DURATION], minlength=12)
    return seconds / max(seconds.sum(), 1e-9)


def key_share(score: Score) -> float:
    """Share of the sounding time in the major or harmonic minor scale that fits best; 0 for a score without notes."""
    return float((KEYS @ pitch_classes(score)).max())


def degrees(score: Score) -> np.ndarray:
    """`pitch_classes` counted from the keynote of the scale that fits best: equal for a piece in any key."""
    shares = pitch_classes(score)
    return np.roll(shares, -int(np.argmax(KEYS @ shares)) % 12)


def intervals(score: Score) -> np.ndarray:
    """How often each melodic step occurs, from an octave down to one up: shares, float64 [25].

    Steps go from note to note of each monophonic voice; zeros where no voice has two notes.
    """
    steps = [np.diff(np.round(voice[:, PITCH])) for voice in score.voices()]
    steps = np.clip(np.concatenate([np.zeros(0), *steps]), -LARGEST_INTERVAL, LARGEST_INTERVAL).astype(int)
    counts = np.bincount(steps + LARGEST_INTERVAL, minlength=2 * LARGEST_INTERVAL + 1)
    return counts / max(counts.sum(), 1)


def notes_per_second(score: Score) -> float:
    """Note onsets in a second of the score's length; 0 for a score without notes."""
    return len(score.notes) / score.seconds if score.seconds else 0.0


def polyphony(score: Score) -> float:
    """Notes that sound at once, on average over the time in which any sounds; 0 for a score without notes."""
    starts, ends = score.notes[:, ONSET].astype(float), (score.notes[:, ONSET] + score.notes[:, DURATION]).astype(float)
    times = np.concatenate([starts, ends])
    order = np.argsort(times, kind="stable")
    sounding = np.cumsum(np.repeat([1, -1], len(starts))[order])[:-1]
    seconds = np.diff(times[order])
    heard = float(seconds[sounding > 0].sum())
    return float((sounding * seconds).sum()) / heard if heard else 0.0


def recurrence(score: Score, shuffled: bool = False) -> float:
    """How much of what the voices sing they have sung before, at the same pitch or another.

    A figure is MOTIF_STEPS melodic steps one after the other.

    Args:
      score: the notes.
      shuffled: of the same steps in another order, which is what comes back by chance.

    Returns:
      Share of the figures that the same voice had before; 0 where no voice has that many notes.
    """
    again = total = 0
    for voice in score.voices():
        steps = np.diff(np.round(voice[:, PITCH])).astype(int)
        if shuffled:
            steps = np.random.default_rng(0).permutation(steps)
        if len(steps) < MOTIF_STEPS:
            continue
        figures = [tuple(figure) for figure in np.lib.stride_tricks.sliding_window_view(steps, MOTIF_STEPS)]
        again += len(figures) - len(set(figures))
        total += len(figures)
    return again / max(total, 1)


def of(score: Score) -> dict[str, float]:
    """The figures that are one number each."""
    lengths = score.notes[:, DURATION]
    return {
        "notes_per_second": notes_per_second(score),
        "note_seconds": float(lengths.mean()) if len(lengths) else 0.0,
        "polyphony": polyphony(score),
        "key_share": key_share(score),
        "num_pitch_classes": float(np.sum(pitch_classes(score) > 0.01)),
        "recurrence": recurrence(score),
        "recurrence_shuffled": recurrence(score, shuffled=True),
    }


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Total variation distance of two histograms of shares, in [0, 1]: 0 where they are equal."""
    return float(np.abs(first - second).sum() / 2)
