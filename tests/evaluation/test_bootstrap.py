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


def test_pieces_count_by_their_weights():
    found = bootstrap.mean([1.0, 4.0], [3, 1])
    assert found["mean"] == pytest.approx((3 + 4) / 4)
    assert (found["low"], found["high"]) == (1.0, 4.0)
    assert bootstrap.mean([1.0, 4.0, 2.0], [2, 2, 2]) == pytest.approx(bootstrap.mean([1.0, 4.0, 2.0]))


def test_intervals_cover_the_true_mean_as_often_as_they_say():
    rng = np.random.default_rng(1)
    found = [bootstrap.mean(rng.exponential(2.0, 40)) for _ in range(200)]
    assert 0.88 < np.mean([one["low"] <= 2.0 <= one["high"] for one in found]) <= 1


def test_a_figure_that_a_track_lacks_is_averaged_over_the_others():
    rows = [{"track": "a", "x": 1.0, "n": 1}, {"track": "b", "n": 5}, {"track": "c", "x": 4.0, "n": 2}]
    found = bootstrap.of_tracks(rows, weight="n")
    assert found["tracks"] == rows and found["intervals"].keys() == {"x"}
    assert (found["intervals"]["x"]["mean"], found["intervals"]["x"]["num_pieces"]) == (3.0, 2)
