"""Means of ratings by listeners of items, with intervals that hold for other listeners and other items.

A rating is y = mean + listener + item + residual, all random: whoever was strict was so everywhere, and an excerpt that
came out badly did so for everyone. So N ratings are fewer than N independent ones, and 1.96 s / sqrt(N) covers far too
little. The variances of the three parts are found by moments (Gao and Owen 2017, "Efficient moment calculations for
variance components in large unbalanced crossed random effects models"; the two-way analysis of variance where every
listener rated every item), the degrees of freedom by Satterthwaite 1946.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from musicgen_jax.listening.findings import NotComputable

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Spread:
    """Variances, in squared units of the scale, of the three parts of a rating.

    Attributes:
      listener: between listeners; with one rating a listener the residual is within it.
      item: between items; 0.0 where all ratings are of one item, of which they then tell.
      residual: of one rating beyond both.
    """

    listener: float
    item: float
    residual: float

    def variance(self, listeners: float, items: float, ratings: float) -> float:
        """Of the mean of so many ratings; listeners and items are effective numbers where they are not balanced."""
        return self.listener / listeners + self.item / items + self.residual / ratings

    def degrees(self, listeners: float, items: float, ratings: float) -> float:
        """Degrees of freedom of `variance` where the three were estimated from so much (Satterthwaite 1946)."""
        error = self.residual / ratings
        parts = [(self.listener / listeners + error, listeners - 1)]
        if items > 1:
            rest = max(ratings - listeners - items + 1, 1.0)
            parts += [(self.item / items + error, items - 1), (error, rest)]
        spread = sum(part**2 / degrees for part, degrees in parts)
        return self.variance(listeners, items, ratings) ** 2 / spread if spread else float("inf")


def mean(values: Sequence[float], listeners: Sequence[str], items: Sequence[str]) -> dict[str, Any]:
    """The mean of ratings with its 95 % interval.

    Args:
      values: N ratings, or differences of ratings.
      listeners: N, who gave each.
      items: N, of which excerpt. The interval is of other items too, unless there is only one.

    Returns:
      {"mean", "low", "high", "num_ratings", "num_listeners", "num_items"}. Where there is no interval low and high are
      None and "why" is the reason.

    Raises:
      NotComputable: there are no ratings.
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        raise NotComputable("no answers")
    found = {"mean": float(values.mean()), "low": None, "high": None, "num_ratings": len(values)}
    found |= {"num_listeners": len(set(listeners)), "num_items": len(set(items))}
    try:
        half = half_width(
            values, np.unique(listeners, return_inverse=True)[1], np.unique(items, return_inverse=True)[1]
        )
    except NotComputable as reason:
        return found | {"why": str(reason)}
    return found | {"low": found["mean"] - half, "high": found["mean"] + half}


def half_width(values: np.ndarray, listeners: np.ndarray, items: np.ndarray, level: float = LEVEL) -> float:
    """Half of the interval around the mean of values [N]; listeners and items [N] are numbers from 0 without gaps.

    Raises:
      NotComputable: there is one listener, no rating differs, or the design does not tell listeners from items.
    """
    found = spread(values, listeners, items)
    sizes = effective_sizes(listeners, items)
    return float(stats.t.ppf((1 + level) / 2, found.degrees(*sizes)) * np.sqrt(found.variance(*sizes)))


def effective_sizes(listeners: np.ndarray, items: np.ndarray) -> tuple[float, float, float]:
    """(listeners, items, ratings) of a balanced study whose mean would vary as much."""
    number = len(listeners)
    by_listener, by_item = (float(np.sum(np.bincount(codes) ** 2)) for codes in (listeners, items))
    return number**2 / by_listener, number**2 / by_item, float(number)


def spread(values: np.ndarray, listeners: np.ndarray, items: np.ndarray) -> Spread:
    """The three variances, none below 0. Arguments and errors as `half_width`."""
    number, num_listeners, num_items = len(values), int(listeners.max()) + 1, int(items.max()) + 1
    if num_listeners == 1:
        raise NotComputable("one listener tells nothing of others: an interval needs at least two")
    if np.ptp(values) == 0:
        raise NotComputable("all ratings are equal, from which no interval can be estimated")
    by_listener, by_item = np.bincount(listeners), np.bincount(items)
    cells = np.unique(listeners * num_items + items, return_counts=True)
    squares = cells[1] ** 2
    within_listeners = number - np.sum(squares / by_listener[cells[0] // num_items])  # of the item's part
    within_items = number - np.sum(squares / by_item[cells[0] % num_items])  # of the listener's
    # Expected sums of squares within listeners, within items and around the mean, in terms of the three variances.
    design = np.array(
        [
            [0.0, within_listeners, number - num_listeners],
            [within_items, 0.0, number - num_items],
            [number - np.sum(by_listener**2) / number, number - np.sum(by_item**2) / number, number - 1],
        ]
    )
    sums = np.array([_within(values, listeners), _within(values, items), _within(values, np.zeros(number, int))])
    # A part that the design cannot show by itself is within another one, and counts there.
    shown = [True, num_items > 1 and not num_items == num_listeners == number, number > max(num_listeners, num_items)]
    if np.linalg.matrix_rank(design[:, shown]) < sum(shown):
        raise NotComputable("listeners and items cannot be told apart: let several listeners rate the same items")
    parts = np.zeros(3)
    parts[shown] = np.linalg.lstsq(design[:, shown], sums, rcond=None)[0]
    return Spread(*map(float, np.maximum(parts, 0.0)))


def _within(values: np.ndarray, groups: np.ndarray) -> float:
    """Sum of squares of values [N] around the means of their groups."""
    means = np.bincount(groups, values) / np.bincount(groups)
    return float(np.sum((values - means[groups]) ** 2))
