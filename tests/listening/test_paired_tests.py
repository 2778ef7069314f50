"""Rank tests against scipy, and against studies in which there is nothing to find."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import listening_statistics
from musicgen_jax.listening import paired_tests
from musicgen_jax.listening.findings import NotComputable

TIED = np.array([1, 2, 2, -1, 0, 3, 3, -2, 4, 0, 1.0])


def test_signed_rank_is_scipys_without_ties():
    values = np.random.default_rng(0).normal(0.4, 1.0, 15)
    found = paired_tests.signed_rank(values)
    assert found["p"] == pytest.approx(stats.wilcoxon(values).pvalue, rel=1e-12)
    assert found["statistic"] == stats.wilcoxon(values, alternative="greater").statistic


def test_signed_rank_is_exact_with_ties_and_zeros():
    exact = stats.wilcoxon(TIED, zero_method="pratt", method=stats.PermutationMethod(n_resamples=10_000))
    found = paired_tests.signed_rank(TIED)
    assert found["p"] == pytest.approx(exact.pvalue, rel=1e-12)
    assert (found["zeros"], found["num_pairs"]) == (2, 11)


def test_shift_is_the_median_of_walsh_averages():
    """Known: Hollander and Wolfe's differences of the depression scale of nine patients; estimate -0.46, interval
    -0.786 to -0.010 at the exact confidence next to 95 %."""
    before = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    after = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    found = paired_tests.signed_rank(after - before)
    assert found["shift"] == pytest.approx(-0.46)
    assert (found["low"], found["high"]) == (pytest.approx(-0.786), pytest.approx(-0.010))
    assert found["p"] == pytest.approx(0.03906, abs=1e-5)


def test_interval_of_the_shift_covers():
    rng = np.random.default_rng(0)
    found = [paired_tests.signed_rank(rng.standard_t(3, size=12)) for _ in range(400)]
    assert 0.93 <= np.mean([one["low"] <= 0 <= one["high"] for one in found]) <= 0.98  # exact: 0.9580


def test_listeners_and_not_ratings_are_what_is_independent():
    """Each listener hears the same difference on every item, which is nil on average: 5 % may be found by chance."""
    found = listening_statistics.false_alarms(100)
    assert found["value"] < 0.1
    assert found["each_rating"] > 0.12


def test_few_listeners_have_a_shift_and_no_interval():
    found = paired_tests.signed_rank([1.0, 2.0, 3.0])
    assert (found["shift"], found["low"], found["high"], found["p"]) == (2.0, None, None, 0.25)


@pytest.mark.parametrize(("differences", "why"), [([], "no listener"), ([0.0, 0.0], "ties")])
def test_nothing_to_test(differences, why):
    with pytest.raises(NotComputable, match=why):
        paired_tests.signed_rank(differences)


def test_holm():
    """Known: Holm's example of four hypotheses."""
    found = paired_tests.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == {"a": pytest.approx(0.03), "b": pytest.approx(0.06), "c": pytest.approx(0.06), "d": 0.02}
    assert list(found) == ["a", "b", "c", "d"]
    assert paired_tests.holm({}) == {}


def test_friedman_is_scipys_and_w_is_one_where_all_rank_alike():
    table = np.random.default_rng(0).normal(size=(9, 4)).round(1)
    found = paired_tests.friedman(table)
    assert found["chi_square"] == pytest.approx(stats.friedmanchisquare(*table.T).statistic)
    assert paired_tests.friedman(np.tile([1.0, 2.0, 3.0], (5, 1)))["kendall_w"] == pytest.approx(1.0)
    for wrong, why in [(table[:, :2], "three systems"), (table[:1], "needs two"), (np.ones((4, 3)), "alike")]:
        with pytest.raises(NotComputable, match=why):
            paired_tests.friedman(wrong)
