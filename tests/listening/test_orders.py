"""Orders are balanced, and each listener's own."""

import collections
import itertools

import pytest

from musicgen_jax.listening import orders
from musicgen_jax.listening.study import ATTENTION, FORMAT, PRACTICE, TEST, HeadphoneTone, Stimulus, Study, Trial


def small_study(design: str, num_tests: int = 4, num_systems: int = 2) -> Study:
    def trial(name: str, kind: str) -> Trial:
        stimuli = tuple(Stimulus(f"{name}-{i}", "ABCDEFGH"[i], "x.wav") for i in range(num_systems))
        given = tuple(Stimulus(f"{name}-x{i}", "ABCDEFGH"[i], "x.wav") for i in range(num_systems))
        return Trial(name, name, kind, stimuli, given if design == "abx" else given[:1] if design == "mushra" else ())

    trials = [trial(f"t{i}", TEST) for i in range(num_tests)] + [trial("check", ATTENTION), trial("try", PRACTICE)]
    tones = (HeadphoneTone("tone", "x.wav", 0),)
    return Study(FORMAT, design, "t", "c", 5, 16000, 1, tuple("ABCDEFGH"[:num_systems]), -23.0, tuple(trials), tones)


@pytest.mark.parametrize("number", range(1, 9))
def test_williams_designs_are_balanced(number):
    rows = orders.williams(number)
    assert len(rows) == (number if number % 2 == 0 or number == 1 else 2 * number)
    assert all(sorted(row) == list(range(number)) for row in rows)
    for place in range(number):
        assert set(collections.Counter(row[place] for row in rows).values()) == {len(rows) // number}
    follows = collections.Counter(pair for row in rows for pair in itertools.pairwise(row))
    assert len(follows) == number * (number - 1) and len(set(follows.values())) <= 1


def test_the_pages_come_in_a_sensible_order():
    found = small_study("ab")
    for number in range(20):
        names = [page.trial for page in orders.of(found, number)]
        assert names[:3] == [orders.CONSENT, "tone", "try"] and sorted(names[3:]) == ["check", "t0", "t1", "t2", "t3"]
        assert names[3] != "check"
    assert orders.of(found, 7) == orders.of(found, 7)


def test_every_trial_is_at_every_place_equally_often():
    found = small_study("ab")
    places = collections.Counter()
    for number in range(4):
        tests = [page.trial for page in orders.of(found, number) if page.trial in ("t0", "t1", "t2", "t3")]
        places.update((trial, place) for place, trial in enumerate(tests))
    assert len(places) == 16 and set(places.values()) == {1}


def test_which_system_is_first_depends_neither_on_the_trial_nor_on_its_place():
    found, counts = small_study("ab"), collections.Counter()
    for number in range(8):
        tests = [page for page in orders.of(found, number) if page.trial in ("t0", "t1", "t2", "t3")]
        counts.update((page.trial, place, page.slots[0][-1]) for place, page in enumerate(tests))
    assert len(counts) == 4 * 4 * 2 and set(counts.values()) == {1}


def test_x_is_a_and_b_first_and_second_equally_often():
    counts = collections.Counter()
    for number in range(16):
        for page in orders.of(small_study("abx"), number):
            if page.trial == "t2":
                assert len(page.given) == 1 and len(page.slots) == 2
                counts[page.slots[0][-1], page.given[0][-1]] += 1
    assert len(counts) == 4 and set(counts.values()) == {4}


@pytest.mark.parametrize("num_systems", [3, 5, 6])
def test_every_signal_is_under_every_letter_equally_often(num_systems):
    found, counts = small_study("mushra", num_systems=num_systems), collections.Counter()
    rows = len(orders.williams(num_systems))
    for number in range(rows):
        pages = [page for page in orders.of(found, number) if page.trial == "t1"]
        counts.update((place, id) for place, id in enumerate(pages[0].slots))
        assert pages[0].given == ("t1-x0",)
    assert len(counts) == num_systems**2 and set(counts.values()) == {rows // num_systems}
