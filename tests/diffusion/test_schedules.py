"""Schedules against their numeric derivatives."""

import jax
import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.diffusion import schedules

TIMES = np.linspace(0.05, 0.95, 19)
STEP = 1e-2


def numeric_slope(function, t: np.ndarray) -> np.ndarray:
    """Central differences of fourth order."""
    near = np.asarray(function(t + STEP) - function(t - STEP), np.float64)
    far = np.asarray(function(t + 2 * STEP) - function(t - 2 * STEP), np.float64)
    return (8 * near - far) / (12 * STEP)


@pytest.mark.parametrize("name", config.SCHEDULES)
def test_all_is_masked_at_the_end_and_more_and_more_before(name):
    share = np.asarray(schedules.masked_share(name, np.linspace(0, 1, 50)))
    assert share[0] == pytest.approx(0, abs=1e-6) and share[-1] == 1
    assert np.all(np.diff(share) > 0)


@pytest.mark.parametrize("name", config.SCHEDULES)
def test_the_rate_is_the_slope_and_the_weight_that_of_the_logarithm(name):
    rate = schedules.masking_rate(name, TIMES)
    np.testing.assert_allclose(rate, numeric_slope(lambda t: schedules.masked_share(name, t), TIMES), rtol=1e-3)
    slope = numeric_slope(lambda t: np.log(schedules.masked_share(name, t)), TIMES[2:])
    weight = schedules.masking_rate(name, TIMES[2:]) / schedules.masked_share(name, TIMES[2:])
    np.testing.assert_allclose(weight, slope, rtol=2e-3)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="schedule='square': must be one of linear, cosine"):
        schedules.masked_share("square", 0.5)


def test_times_lie_one_in_each_interval_and_anywhere_in_it():
    times = np.stack([schedules.stratified_times(jax.random.key(seed), 8) for seed in range(50)])
    assert np.all((times > 0) & (times <= 1))
    np.testing.assert_array_equal(np.sort(np.ceil(times * 8)), np.broadcast_to(np.arange(1, 9), (50, 8)))
    assert abs(times[:, 0].mean() - 0.5) < 0.1 and times[:, 0].std() > 0.2  # a row meets every share of masks


@pytest.mark.parametrize("name", config.SCHEDULES)
@pytest.mark.parametrize("steps", [1, 3, 8, 13])
def test_steps_make_every_code_known_once(name, steps):
    total = np.arange(14)
    bounds = np.asarray(schedules.step_bounds(total, steps, name))
    assert bounds.shape == (steps + 1, 14) and np.all(np.diff(bounds, axis=0) >= 0)
    np.testing.assert_array_equal(bounds[0], 0)
    np.testing.assert_array_equal(bounds[-1], total)
    if name == "linear":  # every second bound of twice the steps: two small steps are one
        np.testing.assert_array_equal(np.asarray(schedules.step_bounds(total, 2 * steps, name))[::2], bounds)


@pytest.mark.parametrize("name", config.SCHEDULES)
def test_no_step_draws_nothing_while_there_are_codes(name):
    total, bounds = np.arange(131), jax.jit(schedules.step_bounds, static_argnums=(1, 2))
    for steps in (1, 7, 127, 128):
        drawn = np.diff(np.asarray(bounds(total, steps, name)), axis=0)
        np.testing.assert_array_equal(drawn.sum(axis=0), total)
        assert drawn[:, total >= steps].min() == 1 or steps == 1
        assert drawn.min() >= 0 and drawn[:, total <= steps].max() <= 1
    # Where it is not too slow, it is the schedule: 1 - cos(pi / 4) of 1000 codes are known after half of the steps.
    assert schedules.step_bounds(np.array([1000]), 8, "cosine")[4, 0] == round(1000 * (1 - 0.5**0.5))


def test_linear_steps_are_equal():
    bounds = np.asarray(schedules.step_bounds(np.array([256, 64]), 8, "linear"))
    np.testing.assert_array_equal(np.diff(bounds, axis=0), np.broadcast_to([32, 8], (8, 2)))
