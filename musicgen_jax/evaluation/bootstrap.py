"""How far a mean over a few pieces may be trusted: bootstrap intervals (Efron 1979)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


def mean(values: Sequence[float]) -> dict[str, Any]:
    """Mean of one figure a piece, with the interval in which 95 % of the means of resampled pieces lie.

    Pieces, not frames, are resampled: those of one piece are alike. The same values give the same interval.

    Args:
      values: N >= 1 finite numbers.

    Returns:
      {"mean", "low", "high", "num_pieces"}; low and high are None for a single piece, which tells nothing of others.
    """
    array = np.asarray(values, np.float64)
    found = {"mean": float(array.mean()), "low": None, "high": None, "num_pieces": len(array)}
    if len(array) > 1:
        chosen = np.random.default_rng(0).integers(0, len(array), (RESAMPLES, len(array)))
        tails = (1 - LEVEL) / 2
        found["low"], found["high"] = map(float, np.quantile(array[chosen].mean(axis=1), [tails, 1 - tails]))
    return found
