"""Inputs of relative attention, and output and gradients of one of its back ends."""

import functools

import jax
import numpy as np

from musicgen_jax.transformer import relative_attention, relative_distances


def inputs(
    length: int, table_size: int, pattern: relative_distances.Pattern, batch: int = 2, heads: int = 3, head_dim: int = 5
) -> list[np.ndarray]:
    """Query, key, value, table and a cotangent of the output, float32."""
    rng = np.random.default_rng(length * 100 + table_size)
    query, key, value, cotangent = rng.normal(size=(4, batch, length, heads, head_dim)).astype(np.float32)
    rows = table_size if pattern.causal else 2 * table_size - 1
    return [query, key, value, rng.normal(size=(heads, rows, head_dim)).astype(np.float32), cotangent]


@functools.partial(jax.jit, static_argnums=0)
def with_gradients(attend, query, key, value, table, cotangent):
    """attend(query, key, value, table), and the gradients of all four."""
    out, backward = jax.vjp(attend, query, key, value, table)
    return out, *backward(cotangent)


def oracle(pattern: relative_distances.Pattern, *arrays):
    """`with_gradients` of the plain back end."""
    return with_gradients(lambda *x: relative_attention.relative_attention(*x, pattern), *arrays)


def assert_close(got, expected) -> None:
    """Within 1e-5, output and gradients."""
    for part, whole in zip(got, expected, strict=True):
        np.testing.assert_allclose(part, whole, atol=1e-5)


def assert_close_in_bfloat16(attend, pattern: relative_distances.Pattern, *arrays: np.ndarray) -> None:
    """Within 2 % of the oracle in float32 on the same rounded inputs; the table and its gradient stay float32."""
    query, key, value, table, cotangent = arrays
    low = [jax.numpy.asarray(part, jax.numpy.bfloat16) for part in (query, key, value, cotangent)]
    *exact, exact_cotangent = (part.astype(np.float32) for part in low)
    got = with_gradients(attend, *low[:3], table, low[3])
    assert [part.dtype for part in got] == [jax.numpy.bfloat16] * 4 + [np.float32]
    for part, expected in zip(got, oracle(pattern, *exact, table, exact_cotangent), strict=True):
        error = np.linalg.norm(np.asarray(part, np.float32) - expected) / np.linalg.norm(expected)
        assert error < 2e-2
