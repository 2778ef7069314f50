"""Performances in other keys and tempos, as the published piano models were trained on them; grids have their own."""

import numpy as np

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import PITCH, Score

STRETCHES = (0.95, 0.975, 1.0, 1.025, 1.05)
SEMITONES = tuple(range(-3, 4))
PIANO = (21, 108)  # lowest and highest key


def shifts(score: Score, pitches: tuple[int, int] = PIANO, semitones: tuple[int, ...] = SEMITONES) -> tuple[int, ...]:
    """Those of `semitones` by which a score may be transposed without leaving the range of `pitches`; 0 always."""
    if score.empty:
        return (0,)
    down, up = pitches[0] - score.notes[:, PITCH].min(), pitches[1] - score.notes[:, PITCH].max()
    return tuple(shift for shift in semitones if down <= shift <= up or shift == 0) or (0,)


def varied(
    score: Score,
    rng: np.random.Generator,
    pitches: tuple[int, int] = PIANO,
    semitones: tuple[int, ...] = SEMITONES,
    stretches: tuple[float, ...] = STRETCHES,
) -> Score:
    """The score in one of the keys that `shifts` allows and one of the tempos, all equally likely.

    Args:
      score: any.
      rng: draws key and tempo; equal generators draw equally.
      pitches: lowest and highest pitch that may come of it.
      semitones: of transposition, to choose from.
      stretches: factors of all times, to choose from.

    Raises:
      UserError: no stretches.
    """
    if not stretches:
        raise UserError("stretches is empty: (1.0,) leaves the tempo as it is")
    shift = rng.choice(shifts(score, pitches, semitones))
    return score.transposed(int(shift)).stretched(float(rng.choice(stretches)))
