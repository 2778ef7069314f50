"""Meter and phrases: of scores, and as they are planned for music that is yet to be composed."""

import dataclasses

import numpy as np
import tiny_scores
from tiny_scores import BAR, CELLS, PHRASE, UPBEAT

from musicgen_jax.codes import meter


def test_positions_of_a_score():
    found = meter.positions(tiny_scores.score(0), 40)
    assert found.dtype == np.int32 and found.shape == (40, 4)
    steps = np.arange(40)
    np.testing.assert_array_equal(found[:, 0], steps % 4)
    np.testing.assert_array_equal(found[:, 1], (steps - UPBEAT) % BAR)
    held = np.isin(steps, np.arange(UPBEAT + PHRASE - CELLS, UPBEAT + PHRASE))
    np.testing.assert_array_equal(found[:, 2], held)
    first, second = UPBEAT + PHRASE - CELLS, UPBEAT + 2 * PHRASE - CELLS
    until = [first - step if step <= first else second - step for step in steps]
    # The second fermata begins behind what is asked for, and is not seen from here.
    np.testing.assert_array_equal(found[: first + 1, 3], until[: first + 1])
    assert (found[first + 1 :, 3] > 1000).all()
    longer = meter.positions(tiny_scores.score(0), 60)
    np.testing.assert_array_equal(longer[first + 1 : 40, 3], until[first + 1 :])


def test_what_a_score_does_not_say_is_unknown():
    bare = dataclasses.replace(tiny_scores.score(0), bars=None, fermatas=np.zeros((0, 2)))
    found = meter.positions(bare, 10)
    assert (found[:, 1:] == -1).all() and (found[:, 0] == np.arange(10) % 4).all()
    planned = meter.planned(
        tiny_scores.model_config(bar_steps=0, phrase_steps=()), 10, np.zeros((0, 4), np.int32), np.random.default_rng(0)
    )
    np.testing.assert_array_equal(planned, found)


def test_the_usual_meter_is_planned():
    usual = meter.usual(tiny_scores.score(index) for index in range(6))
    assert (usual.bar_steps, usual.upbeat_steps, usual.fermata_steps) == (BAR, UPBEAT, CELLS)
    assert set(usual.phrase_steps) == {PHRASE, UPBEAT + PHRASE}  # the first one has the upbeat
    assert meter.usual([]) == meter.Usual()
    model = tiny_scores.model_config()
    nothing = np.zeros((0, 4), np.int32)
    for length in (20, 100, 200):
        found = meter.planned(model, length, nothing, np.random.default_rng(length))
        np.testing.assert_array_equal(found[:, 1], (np.arange(length) - UPBEAT) % BAR)
        ends = np.flatnonzero(np.diff(np.append(found[:, 2], 0)) == -1) + 1
        assert ends[-1] == length and (found[-CELLS:, 2] == 1).all()
        assert set(np.diff(ends[:-1], prepend=0)) <= set(model.phrase_steps)
        begins = np.flatnonzero(np.diff(found[:, 2], prepend=0) == 1)
        assert (found[begins, 3] == 0).all()


def test_a_given_beginning_goes_on():
    model, rng = tiny_scores.model_config(), np.random.default_rng(0)
    known = meter.positions(tiny_scores.score(0), 30)
    known[:, 1] = (np.arange(30) - 2) % BAR  # another upbeat
    found = meter.planned(model, 90, known, rng)
    np.testing.assert_array_equal(found[:30], known)
    np.testing.assert_array_equal(found[:, 1], (np.arange(90) - 2) % BAR)
    assert not found[30 : 30 + PHRASE - CELLS, 2].any() and found[-1, 2] == 1
