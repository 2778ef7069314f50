"""Masks and weights of the bound."""

import jax
import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.diffusion import masking, schedules

LENGTHS = np.array([12, 7, 1, 0, 12, 12, 12, 12])
EXISTS = np.arange(12) < LENGTHS[:, None]


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
    share = np.asarray(schedules.masked_share(name, t), np.float64)[:, None]
    expected = np.sum(counts * g * ways * share**counts * (1 - share) ** (12 - counts), axis=1)
    rate = np.asarray(schedules.masking_rate(name, t), np.float64)
    bound = np.mean(rate / share[:, 0] * expected)
    known, weights = draws(name, 4000)
    full = LENGTHS == 12
    found = np.sum(weights * g[(EXISTS & ~known).sum(axis=-1)][..., None], axis=-1)[:, full].mean()
    assert found == pytest.approx(bound, rel=0.02)


def test_masked_codes():
    codes = np.array([[[3], [1], [4]]])
    np.testing.assert_array_equal(masking.masked_codes(codes, np.array([[True, False, True]]), 9), [[[3], [9], [4]]])
