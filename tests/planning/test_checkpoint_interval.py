"""Daly's interval against the minimum of his exact model, found by search."""

import numpy as np
import pytest

from musicgen_jax.planning import checkpoint_interval


def exact_time(interval: np.ndarray, checkpoint: float, failure: float) -> np.ndarray:
    """Wall time for one second of work, restarts apart (Daly 2006, equation 20)."""
    return failure * (np.exp((interval + checkpoint) / failure) - 1) / interval


@pytest.mark.parametrize(("checkpoint", "failure"), [(10.0, 3600.0), (60.0, 86400.0), (300.0, 7200.0)])
def test_best_interval_minimises_the_exact_model(checkpoint, failure):
    intervals = np.geomspace(1, failure, 200_000)
    times = exact_time(intervals, checkpoint, failure)
    best = checkpoint_interval.best_interval(checkpoint, failure)
    assert best == pytest.approx(intervals[np.argmin(times)], rel=0.01)
    assert exact_time(np.array(best), checkpoint, failure) == pytest.approx(times.min(), rel=1e-5)


def test_hopeless_machines_save_once_a_failure():
    assert checkpoint_interval.best_interval(100.0, 40.0) == 40.0


def test_lost_share_is_least_near_the_best_interval():
    shares = [checkpoint_interval.lost_share(interval, 30.0, 36000.0, 0.0) for interval in (500.0, 1450.0, 5000.0)]
    assert min(shares) == shares[1]
    assert shares[1] == pytest.approx(30 / 1480 + 725 / 36000)
