"""Power: studies of the size that is said to do find the difference, in 80 of 100."""

import numpy as np
import pytest
from scipy import stats

from musicgen_jax.listening import crossed_means, power
from musicgen_jax.listening.crossed_means import Spread
from musicgen_jax.listening.findings import NotComputable
from musicgen_jax.runtime.errors import UserError


def found_in(num_listeners, num_items, spread, difference, studies):
    """The share of simulated studies whose interval of the difference leaves out zero."""
    rng = np.random.default_rng(0)
    listeners, items = np.divmod(np.arange(num_listeners * num_items), num_items)
    hits = 0
    for _ in range(studies):
        values = difference + rng.normal(0, spread.listener**0.5, num_listeners)[listeners]
        values += rng.normal(0, spread.item**0.5, num_items)[items]
        values += rng.normal(0, spread.residual**0.5, len(items))
        hits += abs(values.mean()) > crossed_means.half_width(values, listeners, items)
    return hits / studies


@pytest.mark.parametrize(("design", "difference"), [("mos", 0.5), ("mushra", 10.0)])
def test_simulated_studies_find_the_difference(design, difference):
    spread = power.ASSUMED[design]
    needed = power.listeners_needed(design, difference, 12)
    assert found_in(needed, 12, spread, difference, 400) == pytest.approx(0.8, abs=0.06)
    assert found_in(max(2, needed // 3), 12, spread, difference, 200) < 0.72


def test_one_item_is_the_paired_t_test():
    """Known: 34 pairs for half a standard deviation, two-sided 5 %, power 80 % (Cohen 1988)."""
    assert power.listeners_needed("mos", 0.5, 1, Spread(0.0, 0.0, 1.0)) == 34


def test_exact_binomial_power():
    needed = power.listeners_needed("abx", 0.2, 1)
    reached = [stats.binom.sf(critical - 1, needed, 0.7) for critical in range(needed + 1)
               if stats.binom.sf(critical - 1, needed, 0.5) < 0.05]  # fmt: skip
    assert max(reached) >= 0.8
    assert needed == 37
    assert power.listeners_needed("ab", 0.2, 1) > needed, "two sides"
    assert power.listeners_needed("abx", 0.2, 10) == 4


def test_smaller_differences_and_fewer_items_need_more_listeners():
    needed = [power.listeners_needed("mos", difference, 20) for difference in (1.0, 0.7, 0.5)]
    assert needed == sorted(needed)
    assert power.listeners_needed("mos", 0.5, 40) < power.listeners_needed("mos", 0.5, 10)


def test_few_items_are_not_made_up_for_by_listeners():
    with pytest.raises(NotComputable, match=r"take (\d+) items or more") as error:
        power.listeners_needed("mushra", 5.0, 10)
    items = int(str(error.value).split("take ")[1].split()[0])
    assert power.listeners_needed("mushra", 5.0, items) <= power.MOST
    assert "take" in power.table("mushra", 10)["5"]


def test_a_plan_says_what_it_assumes():
    plan = power.plan("mushra", 10.0, 12)
    assert plan["assumed"] and plan["standard_deviations"] == {"listener": 8.0, "item": 8.0, "residual": 15.0}
    assert plan["listeners"] == power.listeners_needed("mushra", 10.0, 12)
    assert "assumed" not in power.plan("abx", 0.2, 10)
    with pytest.raises(UserError, match="items or more"):
        power.plan("mushra", 5.0, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("mos", 0.0, 5), "above 0"), (("mos", 5.0, 5), "at most 4"), (("abx", 0.6, 5), "0.5"), (("mos", 1.0, 0), "items"),
     (("rank", 1.0, 5), "must be one of"), (("mos", float("nan"), 5), "above 0")],
)  # fmt: skip
def test_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        power.listeners_needed(*arguments)
