"""The sections of a piece."""

import numpy as np
import pytest
import tiny_scores
from tiny_scores import BAR, CELLS, PHRASE, UPBEAT

from musicgen_jax.codes import forms, meter


@pytest.mark.parametrize(
    ("form", "bars", "borders", "sources"),
    [
        ("", 10.5, [0, 10.5], [None]),
        ("A", 10.5, [0, 10.5], [None]),
        ("AABA", 10.5, [0, 2, 4, 6, 8, 10.5], [None, 0, None, 0, None]),
        ("AABA", 8, [0, 2, 4, 6, 8], [None, 0, None, 0]),
        ("abAb", 11, [0, 2, 4, 6, 8, 11], [None, None, None, 2, None]),
        ("ABC", 4, [0, 1, 2, 4], [None, None, None]),
    ],
)
def test_sections(form, bars, borders, sources):
    found = forms.sections(form, int(bars * BAR), BAR)
    assert [found[0].start, *(one.stop for one in found)] == [border * BAR for border in borders]
    assert [one.start for one in found[1:]] == [one.stop for one in found[:-1]]
    assert [one.source for one in found] == [None if one is None else one * BAR for one in sources]
    assert "".join(one.letter for one in found) == form


def test_sections_end_with_a_phrase_and_return_with_theirs():
    model, nothing = tiny_scores.model_config(), np.zeros((0, 4), np.int32)
    num_steps = 34 * BAR + 2
    sections = forms.sections("AABA", num_steps, forms.unit(model))
    plan = meter.planned(model, num_steps, nothing, np.random.default_rng(1), sections)
    np.testing.assert_array_equal(plan[:, 1], (np.arange(num_steps) - UPBEAT) % BAR)
    held = plan[:, 2] == 1
    for section in sections:
        assert held[section.stop - CELLS : section.stop].all()
        assert section.stop == num_steps or not held[section.stop]
    first, again, other, last, rest = (plan[one.start : one.stop] for one in sections)
    for one in (again, last):
        np.testing.assert_array_equal(one[:, :3], first[:, :3])
        np.testing.assert_array_equal(one[:-CELLS, 3], first[:-CELLS, 3])
    assert not np.array_equal(other, first) and len(rest) == 2 * BAR + 2
    begins = np.flatnonzero(np.diff(held.astype(int), prepend=0) == 1)
    until = begins[np.searchsorted(begins, np.arange(num_steps - CELLS + 1))] - np.arange(num_steps - CELLS + 1)
    np.testing.assert_array_equal(plan[: len(until), 3], until)


def test_no_form_and_one_section_are_planned_alike():
    model, known = tiny_scores.model_config(), meter.positions(tiny_scores.score(0), 30)
    plans = [
        meter.planned(model, 200, known, np.random.default_rng(0), sections)
        for sections in ((), forms.sections("", 200, BAR), forms.sections("A", 200, BAR))
    ]
    assert all(np.array_equal(plan, plans[0]) for plan in plans)


def test_a_beginning_returns_with_its_own_meter():
    model, known = tiny_scores.model_config(), meter.positions(tiny_scores.score(0), PHRASE + UPBEAT)
    known[:, 1] = (np.arange(len(known)) - 2) % BAR  # another upbeat
    sections = forms.sections("AB" * 2, 16 * BAR, BAR)
    plan = meter.planned(model, 16 * BAR, known, np.random.default_rng(0), sections)
    np.testing.assert_array_equal(plan[: len(known)], known)
    np.testing.assert_array_equal(plan[8 * BAR :, :3], plan[: 8 * BAR, :3])
    np.testing.assert_array_equal(plan[:, 1], (np.arange(16 * BAR) - 2) % BAR)
    silent = known.copy()
    silent[:, 2:] = -1
    plan = meter.planned(model, 16 * BAR, silent, np.random.default_rng(0), sections)
    assert (plan[8 * BAR : 8 * BAR + len(known), 2:] == -1).all() and (plan[8 * BAR + len(known) :, 2:] >= 0).all()


def test_without_bars_sections_are_of_quarters():
    assert forms.unit(tiny_scores.model_config(bar_steps=0)) == CELLS
