"""How far a mean over a few pieces may be trusted: bootstrap intervals (Efron 1979)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
TRACK = "track"  # the key of a row's name


def mean(values: Sequence[float], weights: Sequence[float] | None = None) -> dict[str, Any]:
    """Mean of one figure a piece, with the interval in which 95 % of the means of resampled pieces lie.

    Pieces, not frames, are resampled: those of one piece are alike. The same values give the same interval.

    Args:
      values: N >= 1 finite numbers.
      weights: by how much each piece counts, N positive numbers; equally without. The mean of a figure that is counted
        per code has the numbers of codes: it is then that of all codes together.

    Returns:
      {"mean", "low", "high", "num_pieces"}; low and high are None for a single piece, which tells nothing of others.
    """
    array = np.asarray(values, np.float64)
    shares = np.ones(len(array)) if weights is None else np.asarray(weights, np.float64)
    found = {"mean": float(np.average(array, weights=shares)), "low": None, "high": None, "num_pieces": len(array)}
    if len(array) > 1:
        chosen = np.random.default_rng(0).integers(0, len(array), (RESAMPLES, len(array)))
        means = (array * shares)[chosen].sum(axis=1) / shares[chosen].sum(axis=1)
        tails = (1 - LEVEL) / 2
        found["low"], found["high"] = map(float, np.quantile(means, [tails, 1 - tails]))
    return found


def of_tracks(rows: Sequence[Mapping[str, Any]], weight: str = "") -> dict[str, Any]:
    """Figures of each track, and the mean of each figure over the tracks that have it, with its interval.

    Args:
      rows: one a track: "track", its name, and figure -> finite number, of what could be measured of it.
      weight: figure by which the tracks count; "" is equally. It has no mean of its own.

    Returns:
      {"intervals": {figure: `mean`}, "tracks": the rows}.
    """
    names = dict.fromkeys(name for row in rows for name in row if name not in (TRACK, weight))
    having = {name: [row for row in rows if name in row] for name in names}
    intervals = {
        name: mean([row[name] for row in found], [row[weight] for row in found] if weight else None)
        for name, found in having.items()
    }
    return {"intervals": intervals, "tracks": [dict(row) for row in rows]}
