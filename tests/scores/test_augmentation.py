"""Performances in other keys and tempos: all of them occur, and none leaves the keyboard."""

import collections

import numpy as np
import pytest

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import augmentation
from musicgen_jax.scores.score import Score

LOW = Score([[22, 0, 1, 64, 0], [60, 1, 1, 64, 0]])


def test_all_versions_are_equally_likely():
    rng = np.random.default_rng(0)
    found = collections.Counter()
    for _ in range(3500):
        version = augmentation.varied(LOW.transposed(10), rng)
        found[int(version.notes[1, 0]) - 70, round(float(version.notes[1, 1]), 3)] += 1
    assert {shift for shift, _ in found} == set(augmentation.SEMITONES)
    assert {stretch for _, stretch in found} == set(augmentation.STRETCHES)
    assert len(found) == 35 and 50 < min(found.values()) <= max(found.values()) < 160


def test_no_key_beyond_the_keyboard():
    assert augmentation.shifts(LOW) == (-1, 0, 1, 2, 3)
    assert augmentation.shifts(LOW.transposed(-5)) == (0,)  # it lies below the keyboard, and no shift lifts it enough
    assert augmentation.shifts(Score([])) == (0,)
    rng = np.random.default_rng(0)
    assert min(augmentation.varied(LOW, rng).notes[:, 0].min() for _ in range(50)) == 21


def test_equal_generators_draw_equally():
    first, second = (augmentation.varied(LOW, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.notes, second.notes)
    with pytest.raises(UserError, match="stretches is empty"):
        augmentation.varied(LOW, np.random.default_rng(0), stretches=())
