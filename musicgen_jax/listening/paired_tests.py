"""Rank tests of paired differences, one difference a listener, exact with ties and zeros; Holm's correction.

The listeners are what is drawn at random and independent. A listener's ratings of several items are not, so each
listener counts with the mean of their differences: testing every rating as a listener of its own would find differences
that are not there (docs/listening.md has the measurement).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from musicgen_jax.listening.findings import NotComputable

LEVEL = 0.95


def signed_rank(differences: Sequence[float]) -> dict[str, Any]:
    """Wilcoxon's signed-rank test of no shift, with the Hodges-Lehmann estimate of the shift and its interval.

    The p-value is of the exact distribution over all assignments of signs to these very ranks, ties included. Zeros are
    ranked and then leave the statistic (Pratt 1959).

    Args:
      differences: N, one a listener.

    Returns:
      {"p", "statistic", "zeros", "num_pairs", "shift", "low", "high"}: statistic is the sum of the positive ranks,
      shift the median of the means of all pairs (Hodges and Lehmann 1963), low and high its 95 % interval, None below
      six listeners, of whom no assignment of signs is that improbable.

    Raises:
      NotComputable: there is no listener, or no difference.
    """
    values = np.asarray(differences, np.float64)
    if not len(values):
        raise NotComputable("no listener answered for both")
    if not values.any():
        raise NotComputable("no listener heard a difference: all pairs are ties")
    doubled = np.rint(2 * stats.rankdata(np.abs(values))).astype(int)  # whole numbers, mean ranks of ties too
    statistic = int(doubled[values > 0].sum())
    chances = _chances(doubled[values != 0])
    tail = min(chances[: statistic + 1].sum(), chances[statistic:].sum())
    walsh = _walsh(values)
    low, high = _shift_interval(walsh, len(values))
    return {
        "p": float(min(1.0, 2 * tail)),
        "statistic": statistic / 2,
        "zeros": int((values == 0).sum()),
        "num_pairs": len(values),
        "shift": float(np.median(walsh)),
        "low": low,
        "high": high,
    }


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for testing all of them, by name (Holm 1979): below a level, they are significant at it."""
    order = sorted(p_values, key=lambda name: p_values[name])
    adjusted, largest = {}, 0.0
    for place, name in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def friedman(table: np.ndarray) -> dict[str, Any]:
    """Friedman's test that no column is rated differently, and Kendall's W.

    Args:
      table: [listeners, systems] mean ratings.

    Raises:
      NotComputable: fewer than three systems or two listeners, or every listener rated all systems alike.
    """
    if table.shape[1] < 3:
        raise NotComputable(
            "the Friedman test compares three systems or more; for two the signed-rank test says it all"
        )
    if len(table) < 2:
        raise NotComputable(f"{len(table)} listener(s) rated every system: the Friedman test needs two")
    if not np.ptp(table, axis=1).any():
        raise NotComputable("every listener rated all systems alike")
    found = stats.friedmanchisquare(*table.T)
    size = len(table) * (table.shape[1] - 1)
    return {
        "chi_square": float(found.statistic),
        "degrees_of_freedom": table.shape[1] - 1,
        "p": float(found.pvalue),
        "kendall_w": float(found.statistic / size),
        "num_listeners": len(table),
    }


def _chances(ranks: np.ndarray) -> np.ndarray:
    """Probability of each sum, from 0 on, of those ranks whose random signs are positive."""
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1.0
    for rank in ranks:
        moved = np.zeros_like(chances)
        moved[rank:] = chances[: len(chances) - rank]
        chances = (chances + moved) / 2
    return chances


def _walsh(values: np.ndarray) -> np.ndarray:
    """Means of all pairs of values, each with itself too, in order: [N (N + 1) / 2]."""
    first, second = np.triu_indices(len(values))
    return np.sort((values[first] + values[second]) / 2)


def _shift_interval(walsh: np.ndarray, number: int) -> tuple[float | None, float | None]:
    """The shifts that the test would not reject, as those of ranks without ties."""
    below = np.cumsum(_chances(np.arange(1, number + 1)))
    outside = int(np.searchsorted(below, (1 - LEVEL) / 2, side="right"))  # statistics of the lower tail
    if not outside:
        return None, None
    return float(walsh[outside - 1]), float(walsh[len(walsh) - outside])
