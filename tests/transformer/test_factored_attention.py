"""Attention on reshaped rows equals the dense masked computation, and step by step equals both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax.transformer import factored_attention, kv_cache

BATCH, HEADS, DEPTH, ROW_LENGTH, PRIME_LENGTH = 2, 2, 3, 4, 6
LENGTHS = {"row_length": ROW_LENGTH, "prime_length": PRIME_LENGTH}


def drawn(length: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(BATCH, length, HEADS, DEPTH)).astype(np.float32) for _ in range(3)]


def slow_attention(query: np.ndarray, key: np.ndarray, value: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Softmax attention, one query at a time; zero where a query sees nothing."""
    out = np.zeros(query.shape)
    for b, t, h in np.ndindex(query.shape[:3]):
        seen = np.flatnonzero(visible[t])
        if len(seen):
            scores = np.exp(key[b, seen, h].astype(np.float64) @ query[b, t, h] / DEPTH**0.5)
            out[b, t, h] = (scores / scores.sum()) @ value[b, seen, h]
    return out


@pytest.mark.parametrize("length", [16, 15, 3])
@pytest.mark.parametrize("pattern", factored_attention.PATTERNS)
def test_reshaped_equals_dense_masked(pattern, length):
    query, key, value = drawn(length)
    visible = np.asarray(factored_attention.mask(pattern, length, length, ROW_LENGTH, PRIME_LENGTH))
    attended = factored_attention.attention(pattern, query, key, value, **LENGTHS)
    np.testing.assert_allclose(attended, slow_attention(query, key, value, visible), atol=2e-6)


@pytest.mark.parametrize("pattern", factored_attention.PATTERNS)
def test_steps_equal_the_whole_sequence(pattern):
    query, key, value = drawn(16)
    whole = factored_attention.attention(pattern, query, key, value, **LENGTHS)

    @jax.jit
    def step(query, cache, position):
        return factored_attention.step(pattern, query, cache, position, **LENGTHS)

    cache = kv_cache.from_sequence(jnp.asarray(key), jnp.asarray(value))
    for position in range(16):
        later = jnp.arange(16)[:, None] > position  # what comes there must not matter
        known = jax.tree.map(lambda part, later=later: jnp.where(later, 1e3, part), cache)
        np.testing.assert_allclose(step(query[:, position], known, position), whole[:, position], atol=2e-6)


def test_the_first_row_of_previous_row_attention_is_zero():
    """The published models attend to zero keys and values there."""
    attended = factored_attention.attention("previous_row", *drawn(8), **LENGTHS)
    assert not np.asarray(attended[:, :4]).any()
    assert np.asarray(attended[:, 4:]).all()


def test_gradients_are_finite_where_a_query_sees_nothing():
    def total(query):
        visible = jnp.zeros((4, 4), bool)
        return factored_attention.attend(query, query, query, visible).sum()

    gradient = jax.grad(total)(jnp.ones((1, 4, 1, 2)))
    np.testing.assert_array_equal(gradient, 0)


def test_float16_keeps_the_softmax_in_float32():
    query, key, value = (20 * part for part in drawn(16))
    exact = factored_attention.attention("row", query, key, value, **LENGTHS)
    half = factored_attention.attention("row", *(part.astype(np.float16) for part in (query, key, value)), **LENGTHS)
    assert half.dtype == jnp.float16
    np.testing.assert_allclose(half, exact, atol=0.2)
