"""ABX: the table of critical numbers, and listeners who are not alike."""

import numpy as np
import pytest
from scipy import stats

from musicgen_jax.listening import discrimination
from musicgen_jax.listening.findings import Findings
from musicgen_jax.listening.ratings import Discrimination

CRITICAL = {8: 7, 10: 9, 12: 10, 16: 12, 20: 15, 24: 17, 25: 18, 30: 20, 50: 32, 100: 59}


def answers(rights):
    """listener -> list of 0 and 1."""
    return [
        Discrimination(name, f"item{number}", *(("A", "B") if number % 2 else ("B", "A")), bool(right), 1.0)
        for name, given in rights.items()
        for number, right in enumerate(given)
    ]


def summarized(rights):
    findings = Findings()
    discrimination.summarize(answers(rights), findings)
    return findings


@pytest.mark.parametrize(("trials", "critical"), CRITICAL.items())
def test_critical_numbers(trials, critical):
    assert discrimination.critical_correct(trials) == critical
    assert stats.binomtest(critical, trials, alternative="greater").pvalue < 0.05
    assert stats.binomtest(critical - 1, trials, alternative="greater").pvalue >= 0.05


def test_too_few_trials_have_none():
    assert [discrimination.critical_correct(trials) for trials in range(1, 6)] == [None, None, None, None, 5]


def test_exact_binomial_of_all_trials_and_of_each_listener():
    found = summarized({"a": [1, 1, 1, 1, 1, 1, 1, 0], "b": [1, 1, 1, 1, 1, 0, 0, 0]}).figures
    pair = found["pairs"]["A vs B"]
    assert (pair["correct"], pair["trials"], pair["critical"]) == (12, 16, 12)
    assert pair["p"] == pytest.approx(0.0384, abs=5e-5)
    assert pair["by_listener"]["a"]["p"] == pytest.approx(9 / 256)
    assert pair["share"]["mean"] == 0.75
    assert "pooled" in found["caution"]


def test_listeners_who_are_not_alike_are_seen():
    rng = np.random.default_rng(0)
    unlike = {f"l{n}": rng.random(16) < (1.0 if n < 3 else 0.5) for n in range(12)}
    assert summarized(unlike).figures["pairs"]["A vs B"]["equal_listeners_p"] < 0.01


def test_p_of_equal_listeners_is_uniform_where_they_are_equal():
    rng = np.random.default_rng(1)
    found = [discrimination.equal_listeners(rng.binomial(10, 0.7, 8), [10] * 8) for _ in range(60)]
    assert 0.35 < np.mean(found) < 0.7
    assert np.mean(np.array(found) < 0.1) < 0.25


def test_what_cannot_be_told():
    found = summarized({"a": [1, 1, 1]})
    assert found.figures["pairs"]["A vs B"]["equal_listeners_p"] is None
    assert "one listener" in found.absent["pairs.A vs B.share.interval"]
    assert summarized({}).figures == {}
