"""How many listeners a study needs to find a difference, if it is there, in at least 80 of 100 studies."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from musicgen_jax.listening.crossed_means import Spread
from musicgen_jax.listening.discrimination import critical_correct
from musicgen_jax.listening.findings import NotComputable
from musicgen_jax.runtime.errors import UserError

POWER = 0.8
ALPHA = 0.05
MOST = 10_000  # listeners
# Of the difference between two ratings of one listener, where no pilot study tells: assumptions, not measurements.
ASSUMED = {"mushra": Spread(8.0**2, 8.0**2, 15.0**2), "mos": Spread(0.4**2, 0.4**2, 1.0**2)}
LARGEST = {"mushra": 100.0, "mos": 4.0, "abx": 0.5, "ab": 0.5}
UNITS = {
    "mushra": "points of 100",
    "mos": "points of 1 to 5",
    "abx": "share of right answers above 0.5",
    "ab": "share of the preferred above 0.5",
}
SHOWN = {"mushra": (2.0, 5.0, 10.0, 20.0), "mos": (0.1, 0.25, 0.5, 1.0)}


def listeners_needed(
    design: str, difference: float, items: int, spread: Spread | None = None, power: float = POWER
) -> int:
    """The fewest listeners for which a two-sided test at 5 % (ABX: one-sided) finds `difference` with this power.

    Ratings are tested by the interval of their mean difference (`crossed_means`), which holds for other items as well,
    so that few items can't be made up for by any number of listeners. ABX and preferences by the exact binomial test,
    as if the trials were independent; where listeners differ more are needed.

    Args:
      design: "mushra", "mos", "abx" or "ab".
      difference: between two systems: points of the scale; ABX and preference: share of right answers, or of the
        preferred among those who prefer one, above 0.5.
      items: excerpts that each listener hears, each pair of systems once on each.
      spread: variances of a difference between two ratings, from a pilot study; None: `ASSUMED`.
      power: probability of finding it.

    Raises:
      UserError: an argument out of range.
      NotComputable: more than 10,000 listeners would be needed.
    """
    _check(design, difference, items, power)
    if design in ASSUMED:
        finds = _rating_power(difference, items, ASSUMED[design] if spread is None else spread)
    else:
        finds = _binomial_power(0.5 + difference, items, sides=1 if design == "abx" else 2)
    many = 2
    while finds(many) < power:
        if many >= MOST:
            raise NotComputable(_too_few(design, difference, items, spread))
        many *= 2
    return next(number for number in range(max(1, many // 2), many + 1) if finds(number) >= power)


def table(design: str, items: int, spread: Spread | None = None) -> dict[str, int | str]:
    """Difference, as text -> listeners needed, or the reason why no number would do; for typical differences."""
    found: dict[str, int | str] = {}
    for difference in SHOWN[design]:
        try:
            found[f"{difference:g}"] = listeners_needed(design, difference, items, spread)
        except NotComputable as reason:
            found[f"{difference:g}"] = str(reason)
    return found


def plan(design: str, difference: float, items: int, spread: Spread | None = None) -> dict[str, Any]:
    """`listeners_needed` with all that it assumes, for printing; arguments as there.

    Raises:
      UserError: an argument out of range, or no number of listeners would do.
    """
    try:
        listeners = listeners_needed(design, difference, items, spread)
    except NotComputable as reason:
        raise UserError(str(reason)) from reason
    found: dict[str, Any] = {
        "design": design,
        "difference": difference,
        "unit": UNITS.get(design, ""),
        "items": items,
        "power": POWER,
        "alpha": ALPHA,
        "listeners": listeners,
    }
    if design in ASSUMED:
        used = ASSUMED[design] if spread is None else spread
        found["standard_deviations"] = {name: getattr(used, name) ** 0.5 for name in ("listener", "item", "residual")}
        found["assumed"] = spread is None
    return found


def _check(design: str, difference: float, items: int, power: float) -> None:
    if design not in LARGEST:
        raise UserError(f"`design`={design}: must be one of {', '.join(LARGEST)}")
    if not 0 < difference <= LARGEST[design]:
        raise UserError(
            f"`power`={difference:g}: the difference to find must be above 0 and at most {LARGEST[design]:g} "
            f"({UNITS[design]})"
        )
    if items < 1:
        raise UserError(f"`items`={items}: a study needs at least one")
    if not 0 < power < 1:
        raise UserError(f"power={power:g}: must lie between 0 and 1")


def _rating_power(difference: float, items: int, spread: Spread) -> Callable[[int], float]:
    """Number of listeners -> power of the t test of `crossed_means`."""

    def power(listeners: int) -> float:
        if listeners < 2:
            return 0.0
        sizes = (listeners, items, listeners * items)
        variance, degrees = spread.variance(*sizes), spread.degrees(*sizes)
        if variance == 0:
            return 1.0
        bound, shift = stats.t.ppf(1 - ALPHA / 2, degrees), difference / np.sqrt(variance)
        if not np.isfinite(found := float(stats.nct.sf(bound, degrees, shift) + stats.nct.cdf(-bound, degrees, shift))):
            return 1.0 if shift > bound else 0.0  # so far out that scipy's series has no number
        return found

    return power


def _binomial_power(share: float, items: int, sides: int) -> Callable[[int], float]:
    """Number of listeners -> power of the exact test, in the direction in which the difference is."""

    def power(listeners: int) -> float:
        trials = listeners * items
        needed = critical_correct(trials, ALPHA / sides)
        return 0.0 if needed is None else float(stats.binom.sf(needed - 1, trials, share))

    return power


def _too_few(design: str, difference: float, items: int, spread: Spread | None) -> str:
    """That so few items won't do, and how many would."""
    reason = f"{MOST:,} listeners of {items} item(s) would not find {difference:g} ({UNITS[design]})"
    if design not in ASSUMED:
        return f"{reason}: only a larger difference can be found"
    enough = items
    while _rating_power(difference, enough, ASSUMED[design] if spread is None else spread)(MOST) < POWER:
        enough += max(1, enough // 20)
    return f"{reason}: how systems compare changes from item to item; take {enough} items or more"
