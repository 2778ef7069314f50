"""How far listeners agree: Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability")."""

from collections.abc import Sequence

import numpy as np

from musicgen_jax.listening.findings import NotComputable

SCALES = ("nominal", "ordinal", "interval", "ratio")


def krippendorff_alpha(
    units: Sequence[str], listeners: Sequence[str], values: Sequence[float], scale: str = "interval"
) -> float:
    """1 where all agree, 0 where they agree as if by chance, below 0 where they contradict each other.

    Args:
      units: N, what was judged, such as a system on an item.
      listeners: N, who judged it; no one twice the same unit.
      values: N numbers; of nominal data any numbers that name the categories, of ratio data none below 0.
      scale: "nominal", "ordinal", "interval" or "ratio".

    Raises:
      NotComputable: no unit was judged by two listeners, or all of what was has the same value.
      ValueError: a listener judged a unit twice, or there is no such scale.
    """
    if scale not in SCALES:
        raise ValueError(f"scale={scale!r}: must be one of {', '.join(SCALES)}")
    if len(set(zip(units, listeners, strict=True))) < len(units):
        raise ValueError("a listener judged a unit twice: average such answers first")
    places, names = np.unique(units, return_inverse=True)
    levels, codes = np.unique(np.asarray(values, np.float64), return_inverse=True)
    counts = np.zeros((len(places), len(levels)))
    np.add.at(counts, (names, codes), 1)
    counts = counts[counts.sum(axis=1) > 1]
    if not len(counts):
        raise NotComputable("nothing was judged by two listeners")
    pairs = counts / (counts.sum(axis=1, keepdims=True) - 1)
    coincidences = pairs.T @ counts - np.diag(pairs.sum(axis=0))
    totals = coincidences.sum(axis=1)
    distances = _distances(levels, totals, scale)
    expected = totals @ distances @ totals / (totals.sum() - 1)
    if not expected:
        raise NotComputable("all judgements are equal: agreement cannot be told from indifference")
    return float(1 - np.sum(coincidences * distances) / expected)


def _distances(levels: np.ndarray, totals: np.ndarray, scale: str) -> np.ndarray:
    """Squared differences between values [V, V]; `totals` is how often each was given."""
    if scale == "nominal":
        return 1.0 - np.eye(len(levels))
    if scale == "ordinal":
        middles = np.cumsum(totals) - totals / 2
        return (middles[:, None] - middles) ** 2
    differences = levels[:, None] - levels
    if scale == "interval":
        return differences**2
    sums = levels[:, None] + levels
    return np.divide(differences, sums, out=np.zeros_like(sums), where=sums != 0) ** 2
