"""Paired preference: sign test, listeners' test, and which side was heard first."""

import pytest
from scipy import stats

from musicgen_jax.listening import preference
from musicgen_jax.listening.findings import Findings
from musicgen_jax.listening.ratings import Choice


def summarized(answers, systems=("A", "B")):
    findings = Findings()
    preference.summarize(answers, systems, findings)
    return findings


def test_counts_do_not_depend_on_the_order_of_presentation():
    answers = [
        Choice(f"l{n}", f"i{m}", "A", "B", "first" if n < 7 else "second", 1.0) for n in range(9) for m in (0, 1)
    ]
    turned = {"first": "second", "second": "first", "none": "none"}
    answers = [
        one if place % 2 else Choice(one.listener, one.item, "B", "A", turned[one.chosen], 1.0)
        for place, one in enumerate(answers)
    ] + [Choice("l0", "i2", "B", "A", "none", 1.0)]
    found = summarized(answers).figures
    pair = found["pairs"]["A vs B"]
    assert pair["preferred"] == {"A": 14, "B": 4, "none": 1}
    assert pair["sign_test"]["p"] == pytest.approx(stats.binomtest(14, 18).pvalue)
    assert pair["share"]["mean"] == pytest.approx(14.5 / 19)
    assert pair["wilcoxon"]["num_pairs"] == 9
    assert found["first_position"]["num_trials"] == 18
    assert found["agreement"]["krippendorff_alpha_nominal"] < 0.5


def test_pairs_are_adjusted_together_and_named_in_the_order_of_the_systems():
    answers = [
        Choice(f"l{n}", f"i{m}", *pair, "first" if n < 8 else "second", 1.0)
        for n in range(9)
        for m in range(2)
        for pair in (("A", "B"), ("C", "B"))
    ]
    pairs = summarized(answers, ("C", "A", "B")).figures["pairs"]
    assert list(pairs) == ["C vs B", "A vs B"]
    assert pairs["A vs B"]["sign_test"]["p_holm"] == pytest.approx(2 * pairs["A vs B"]["sign_test"]["p"])


def test_all_ties_say_so():
    found = summarized([Choice(f"l{n}", "i", "A", "B", "none", 1.0) for n in range(5)])
    assert found.figures["pairs"]["A vs B"]["preferred"]["none"] == 5
    assert "ties" in found.absent["pairs.A vs B.sign_test"]
    assert "ties" in found.absent["pairs.A vs B.wilcoxon"]
    assert "first_position" in found.absent
    assert "equal" in found.absent["agreement.krippendorff_alpha_nominal"]
