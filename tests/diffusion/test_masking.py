"""Schedules against their numeric derivatives, orders, and masks with the weights of the bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.diffusion import masking

LENGTHS = np.array([12, 7, 1, 0, 12, 12, 12, 12])
EXISTS = np.arange(12) < LENGTHS[:, None]
TIMES = np.linspace(0.05, 0.95, 19)
STEP = 1e-2


def numeric_slope(function, t: np.ndarray) -> np.ndarray:
    """Central differences of fourth order."""
    near = np.asarray(function(t + STEP) - function(t - STEP), np.float64)
    far = np.asarray(function(t + 2 * STEP) - function(t - 2 * STEP), np.float64)
    return (8 * near - far) / (12 * STEP)


@pytest.mark.parametrize("name", config.SCHEDULES)
def test_all_is_masked_at_the_end_and_more_and_more_before(name):
    share = np.asarray(masking.masked_share(name, np.linspace(0, 1, 50)))
    assert share[0] == pytest.approx(0, abs=1e-6) and share[-1] == 1
    assert np.all(np.diff(share) > 0)


@pytest.mark.parametrize("name", config.SCHEDULES)
def test_the_rate_is_the_slope_and_the_weight_that_of_the_logarithm(name):
    rate = masking.masking_rate(name, TIMES)
    np.testing.assert_allclose(rate, numeric_slope(lambda t: masking.masked_share(name, t), TIMES), rtol=1e-3)
    slope = numeric_slope(lambda t: np.log(masking.masked_share(name, t)), TIMES[2:])
    weight = masking.masking_rate(name, TIMES[2:]) / masking.masked_share(name, TIMES[2:])
    np.testing.assert_allclose(weight, slope, rtol=2e-3)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="schedule='square': must be one of linear, cosine"):
        masking.masked_share("square", 0.5)


def test_times_lie_one_in_each_interval_and_anywhere_in_it():
    times = np.stack([masking.stratified_times(jax.random.key(seed), 8) for seed in range(50)])
    assert np.all((times > 0) & (times <= 1))
    np.testing.assert_array_equal(np.sort(np.ceil(times * 8)), np.broadcast_to(np.arange(1, 9), (50, 8)))
    assert abs(times[:, 0].mean() - 0.5) < 0.1 and times[:, 0].std() > 0.2  # a row meets every share of masks


@pytest.mark.parametrize("name", config.SCHEDULES)
@pytest.mark.parametrize("steps", [1, 3, 8, 13])
def test_steps_make_every_code_known_once(name, steps):
    total = np.arange(14)
    bounds = np.asarray(masking.step_bounds(total, steps, name))
    assert bounds.shape == (steps + 1, 14) and np.all(np.diff(bounds, axis=0) >= 0)
    np.testing.assert_array_equal(bounds[0], 0)
    np.testing.assert_array_equal(bounds[-1], total)
    if name == "linear":  # every second bound of twice the steps: two small steps are one
        np.testing.assert_array_equal(np.asarray(masking.step_bounds(total, 2 * steps, name))[::2], bounds)


@pytest.mark.parametrize("name", config.SCHEDULES)
def test_no_step_draws_nothing_while_there_are_codes(name):
    total, bounds = np.arange(131), jax.jit(masking.step_bounds, static_argnums=(1, 2))
    for steps in (1, 7, 127, 128):
        drawn = np.diff(np.asarray(bounds(total, steps, name)), axis=0)
        np.testing.assert_array_equal(drawn.sum(axis=0), total)
        assert drawn[:, total >= steps].min() == 1 or steps == 1
        assert drawn.min() >= 0 and drawn[:, total <= steps].max() <= 1
    # Where it is not too slow, it is the schedule: 1 - cos(pi / 4) of 1000 codes are known after half of the steps.
    assert masking.step_bounds(np.array([1000]), 8, "cosine")[4, 0] == round(1000 * (1 - 0.5**0.5))


def test_linear_steps_are_equal():
    bounds = np.asarray(masking.step_bounds(np.array([256, 64]), 8, "linear"))
    np.testing.assert_array_equal(np.diff(bounds, axis=0), np.broadcast_to([32, 8], (8, 2)))


def test_spread_reads_bits_backwards():
    expected = [int(f"{position:024b}"[::-1], 2) / 2**24 for position in range(1000)]
    np.testing.assert_array_equal(masking.spread(np.arange(1000)), np.float32(expected))
    np.testing.assert_array_equal(masking.spread(jnp.arange(1000)), np.float32(expected))


@pytest.mark.parametrize("steps", [2, 4, 16])
def test_codes_of_a_step_are_as_far_apart_as_can_be(steps):
    blocks = np.argsort(masking.spread(np.arange(64))).reshape(steps, -1)
    for block in blocks:
        assert set(np.diff(np.sort(block))) == {steps}
    # Two steps of twice as many are one step.
    finer = np.argsort(masking.spread(np.arange(64))).reshape(2 * steps, -1)
    assert all(set(block) == set(pair) for block, pair in zip(blocks, finer.reshape(steps, -1), strict=True))


def test_ranks_count_only_what_counts():
    rng = np.random.default_rng(0)
    priority, among = rng.random((5, 20)).astype(np.float32), rng.random((5, 20)) < 0.6
    places = np.asarray(masking.positions_in_order(priority, among))
    ranks = np.asarray(masking.ranks(priority, among))
    for row in range(5):
        chosen = np.flatnonzero(among[row])
        expected = chosen[np.argsort(priority[row, chosen])]
        np.testing.assert_array_equal(places[row, : len(chosen)], expected)
        np.testing.assert_array_equal(ranks[row, expected], np.arange(len(chosen)))
        assert np.all(ranks[row, ~among[row]] >= len(chosen))


def draws(name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """known and weights of many keys: [count, B, T]."""
    keys = jax.random.split(jax.random.key(0), count)
    return jax.device_get(jax.jit(jax.vmap(lambda key: masking.draw(key, EXISTS, name)))(keys))


@pytest.mark.parametrize("name", config.SCHEDULES)
def test_what_does_not_exist_is_neither_known_nor_counted(name):
    known, weights = draws(name, 20)
    assert not known[:, ~EXISTS].any() and not weights[:, ~EXISTS].any()
    assert np.all((weights > 0) == (EXISTS & ~known))
    assert np.all((weights > 0).sum(axis=-1)[:, LENGTHS > 0] >= 1)


def test_linear_weights_of_a_window_always_sum_to_its_codes():
    weights = draws("linear", 20)[1]
    np.testing.assert_allclose(weights.sum(axis=-1), np.broadcast_to(LENGTHS, (20, 8)), rtol=1e-5)


@pytest.mark.parametrize("name", config.SCHEDULES)
def test_the_mean_is_the_bound_in_continuous_time(name):
    """Cross-entropies that depend on how many codes are known, g(n masked): the bound is an integral over t, where
    masks fall code by code. -alpha' / (1 - alpha) * sum_n n g(n) Binomial(n; 12, 1 - alpha)."""
    g = np.concatenate([[0], np.linspace(1.0, 3.0, 12) ** 2])
    counts = np.arange(13)
    ways = np.array([np.prod(np.arange(13 - n, 13)) / np.prod(np.arange(1, n + 1)) for n in counts])
    t = (np.arange(20000) + 0.5) / 20000
    share = np.asarray(masking.masked_share(name, t), np.float64)[:, None]
    expected = np.sum(counts * g * ways * share**counts * (1 - share) ** (12 - counts), axis=1)
    rate = np.asarray(masking.masking_rate(name, t), np.float64)
    bound = np.mean(rate / share[:, 0] * expected)
    known, weights = draws(name, 4000)
    full = LENGTHS == 12
    found = np.sum(weights * g[(EXISTS & ~known).sum(axis=-1)][..., None], axis=-1)[:, full].mean()
    assert found == pytest.approx(bound, rel=0.02)


def test_masked_codes():
    codes = np.array([[[3], [1], [4]]])
    np.testing.assert_array_equal(masking.masked_codes(codes, np.array([[True, False, True]]), 9), [[[3], [9], [4]]])
