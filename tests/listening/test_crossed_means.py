"""Means of crossed ratings: the analysis of variance where it is known, and intervals that cover what they promise."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import listening_statistics
from musicgen_jax.listening import crossed_means
from musicgen_jax.listening.findings import NotComputable


def test_variances_are_those_of_the_analysis_of_variance():
    values, listeners, items = listening_statistics.study(np.random.default_rng(3), 12, 9, (1.0, 2.0, 0.5))
    table = values.reshape(12, 9)
    between_listeners, between_items = 9 * table.mean(axis=1).var(ddof=1), 12 * table.mean(axis=0).var(ddof=1)
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    residual = np.sum(rest**2) / (11 * 8)
    found = crossed_means.spread(values, listeners, items)
    assert found.residual == pytest.approx(residual)
    assert found.listener == pytest.approx((between_listeners - residual) / 9)
    assert found.item == pytest.approx((between_items - residual) / 12)
    assert crossed_means.effective_sizes(listeners, items) == (12, 9, 108)
    assert found.variance(12, 9, 108) == pytest.approx((between_listeners + between_items - residual) / 108)


@pytest.mark.parametrize(("names", "items"), [("abcdefgh", "aaaaaaaa"), ("abcdefgh", "stuvwxyz")])
def test_one_rating_a_listener_is_a_t_interval(names, items):
    values = np.random.default_rng(0).normal(3.0, 1.0, 8)
    found = crossed_means.mean(values, list(names), list(items))
    low, high = stats.t.interval(0.95, 7, values.mean(), stats.sem(values))
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))
    assert (found["num_listeners"], found["num_items"], found["num_ratings"]) == (8, len(set(items)), 8)


def test_one_rating_of_each_item_is_clustered_by_listener():
    """Nobody shares an item, so items are within the residual: the clusters' t interval, for equal clusters exactly."""
    rng = np.random.default_rng(1)
    values = np.repeat(rng.normal(0, 2, 10), 6) + rng.normal(0, 1, 60)
    found = crossed_means.mean(values, np.repeat(np.arange(10), 6), np.arange(60))
    means = values.reshape(10, 6).mean(axis=1)
    assert found["high"] - found["mean"] == pytest.approx(stats.t.ppf(0.975, 9) * stats.sem(means), rel=0.05)


def test_intervals_cover():
    found = listening_statistics.coverage(20, 10, (0.5, 0.5, 0.8), 0.0, False, studies=1000)
    assert 0.93 <= found["value"] <= 0.97
    assert found["independent"] < 0.6, "the ratings of one listener, and of one item, are not independent"


@pytest.mark.slow
@pytest.mark.parametrize("kind", listening_statistics.KINDS[1:-2])
def test_intervals_cover_in_studies_of_all_kinds(kind):
    assert 0.93 <= listening_statistics.coverage(*kind, studies=1000)["value"] <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("kind", listening_statistics.KINDS[-2:])
def test_intervals_are_rather_too_wide_in_tiny_studies_and_where_only_chance_differs(kind):
    assert 0.95 <= listening_statistics.coverage(*kind, studies=1000)["value"] <= 0.99


def test_what_has_no_interval_says_why():
    assert "one listener" in crossed_means.mean([1.0, 2.0], ["a", "a"], ["x", "y"])["why"]
    equal = crossed_means.mean([5.0] * 4, list("abab"), list("xxyy"))
    assert (equal["mean"], equal["low"], equal["high"]) == (5.0, None, None)
    assert "equal" in equal["why"]
    apart = crossed_means.mean([1.0, 2.0, 4.0, 5.0], list("aabb"), list("xxyy"))
    assert "told apart" in apart["why"]
    with pytest.raises(NotComputable, match="no answers"):
        crossed_means.mean([], [], [])
