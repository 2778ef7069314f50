"""Intervals of means."""

import numpy as np
import pytest

from musicgen_jax.evaluation import bootstrap


def test_interval_of_a_normal_mean():
    """Known: 1.96 standard deviations over the square root of N, to either side."""
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    found = bootstrap.mean(values)
    half = 1.96 * values.std() / 20
    assert found["mean"] == pytest.approx(values.mean())
    assert found["mean"] - found["low"] == pytest.approx(half, rel=0.1)
    assert found["high"] - found["mean"] == pytest.approx(half, rel=0.1)
    assert bootstrap.mean(values) == found


def test_one_piece_has_no_interval():
    assert bootstrap.mean([0.5]) == {"mean": 0.5, "low": None, "high": None, "num_pieces": 1}
