"""Moments in bfloat16 that do not stand still."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from musicgen_jax.training import low_precision


def test_rounding_goes_to_a_neighbour_and_keeps_the_mean():
    values = np.float32([1.0, 1.001, -3.01, 1e-20, 0.0, 7.0 + 2**-16, np.inf])
    many = np.broadcast_to(values, (20000, values.size))
    rounded = low_precision.round_at_random(jnp.asarray(many), jnp.bfloat16, jax.random.key(0))
    assert rounded.dtype == jnp.bfloat16
    found = np.asarray(rounded.astype(jnp.float32))
    np.testing.assert_array_equal(found[:, [0, 4, 6]], many[:, [0, 4, 6]])  # what bfloat16 has stays
    assert [len(np.unique(column)) for column in found.T[:4]] == [1, 2, 2, 2]
    np.testing.assert_allclose(found[:, :6].mean(axis=0), values[:6], rtol=2e-4)
    assert np.all(np.abs(found[:, 1:4] / values[1:4] - 1) <= 2**-7)


def test_nan_stays_nan():
    assert np.isnan(low_precision.round_at_random(jnp.float32([np.nan]), jnp.bfloat16, jax.random.key(0))).all()


@pytest.mark.long
def test_a_second_moment_forgets_at_its_own_pace():
    """After a large gradient come zeros; to the nearest bfloat16 the moment would never fall."""
    inner = optax.scale_by_adam(b2=0.999)
    tx = low_precision.stored(inner, jnp.bfloat16)
    zeros = jnp.zeros(256)

    def last_moment(tx):
        _, start = tx.update(zeros + 5.0, tx.init(zeros), zeros)
        end, _ = jax.lax.scan(lambda state, _: (tx.update(zeros, state, zeros)[1], None), start, None, length=1000)
        return getattr(end, "inner", end)

    exact, found = last_moment(inner), last_moment(tx)
    assert found.nu.dtype == found.mu.dtype == jnp.bfloat16
    np.testing.assert_allclose(jnp.mean(found.nu.astype(jnp.float32)), exact.nu[0], rtol=0.05)
    nearest = exact.nu[0].astype(jnp.bfloat16)
    assert (0.999 * nearest.astype(jnp.float32)).astype(jnp.bfloat16) == nearest  # why rounding is at random


def test_the_same_step_rounds_the_same_way():
    tx = low_precision.stored(optax.scale_by_adam(), jnp.bfloat16)
    params = {"a": jnp.zeros(50), "b": jnp.zeros(50)}
    gradient = jax.tree.map(lambda x: x + 0.123, params)
    states = [tx.update(gradient, tx.init(params), params)[1] for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert np.any(states[0].inner.nu["a"] != states[0].inner.nu["b"])  # but each parameter in its own
    assert int(states[0].count) == int(states[0].inner.count) == 1  # counters are no moments
