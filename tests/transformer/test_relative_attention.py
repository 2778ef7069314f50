import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax.transformer import relative_attention


def double_loop(query, key, value, table):
    """Attention position by position in float64, with the definition and nothing else."""
    batch, length, heads, head_dim = query.shape
    out = np.zeros(query.shape, np.float64)
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                logits = np.zeros(i + 1)
                for j in range(i + 1):
                    embedding = table[h, i - j] if i - j < table.shape[1] else np.zeros(head_dim)
                    logits[j] = query[b, i, h] @ (key[b, j, h] + embedding) / np.sqrt(head_dim)
                weights = np.exp(logits - logits.max())
                out[b, i, h] = weights / weights.sum() @ value[b, : i + 1, h]
    return out


def random_inputs(length, table_size, heads=3, head_dim=5, batch=2):
    rng = np.random.default_rng(length * 100 + table_size)
    query, key, value = rng.normal(size=(3, batch, length, heads, head_dim)).astype(np.float32)
    table = rng.normal(size=(heads, table_size, head_dim)).astype(np.float32)
    return query, key, value, table


def test_skew_moves_distances_to_positions():
    length = 5
    by_distance = np.full((length, length), np.nan, np.float32)
    for i in range(length):
        for distance in range(length):
            by_distance[i, length - 1 - distance] = 10 * i + distance
    skewed = np.asarray(relative_attention.skew(jnp.asarray(by_distance)))
    for i in range(length):
        for j in range(i + 1):
            assert skewed[i, j] == 10 * i + (i - j)


@pytest.mark.parametrize(("length", "table_size"), [(7, 7), (7, 3), (7, 12), (1, 1), (1, 4), (6, 1)])
def test_equals_a_double_loop(length, table_size):
    inputs = random_inputs(length, table_size)
    expected = double_loop(*inputs)
    np.testing.assert_allclose(relative_attention.relative_attention(*inputs), expected, atol=2e-6)


@pytest.mark.parametrize("table_size", [3, 7, 12])
def test_step_equals_the_whole_sequence_at_every_position(table_size):
    length = 7
    query, key, value, table = random_inputs(length, table_size)
    expected = np.asarray(relative_attention.relative_attention(query, key, value, table))
    step = jax.jit(relative_attention.relative_attention_step)
    keys, values = np.swapaxes(key, 1, 2), np.swapaxes(value, 1, 2)
    for position in range(length):
        # What stands behind the position must not matter.
        behind = np.arange(length)[:, None] > position
        got = step(query[:, position], np.where(behind, 99, keys), np.where(behind, 99, values), table, position)
        np.testing.assert_allclose(got, expected[:, position], atol=2e-6)


def test_the_table_is_used():
    query, key, value, table = random_inputs(7, 7)
    with_table = relative_attention.relative_attention(query, key, value, table)
    without = relative_attention.relative_attention(query, key, value, 0 * table)
    assert np.abs(with_table - without)[:, 1:].max() > 0.1


def test_bfloat16_inputs_stay_close_and_keep_their_type():
    query, key, value, table = random_inputs(9, 9)
    low = [part.astype(jnp.bfloat16) for part in (query, key, value)]
    got = relative_attention.relative_attention(*low, table)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(np.float32), double_loop(query, key, value, table), atol=0.05)
