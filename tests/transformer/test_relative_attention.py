import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax.transformer import kv_cache, relative_attention, relative_distances


def double_loop(query, key, value, table, pattern):
    """Attention position by position in float64, with the definition and nothing else."""
    batch, length, heads, head_dim = query.shape
    reach = table.shape[1] - 1 if pattern.causal else table.shape[1] // 2
    out = np.zeros(query.shape, np.float64)
    for b, h, i in np.ndindex(batch, heads, length):
        logits, seen = [], []
        for j in range(i + 1 if pattern.causal else length):
            distance = i - j
            if pattern.window and abs(distance) > pattern.window:
                continue
            if abs(distance) <= reach or pattern.beyond == "clamp":
                row = np.clip(distance, -reach, reach) + (0 if pattern.causal else reach)
                embedding = table[h, row]
            else:
                embedding = np.zeros(head_dim)
            logits.append(query[b, i, h] @ (key[b, j, h] + embedding) / np.sqrt(head_dim))
            seen.append(j)
        weights = np.exp(np.array(logits) - max(logits))
        out[b, i, h] = weights / weights.sum() @ value[b, seen, h]
    return out


def random_inputs(length, table_size, heads=3, head_dim=5, batch=2, causal=True):
    rng = np.random.default_rng(length * 100 + table_size)
    query, key, value = rng.normal(size=(3, batch, length, heads, head_dim)).astype(np.float32)
    rows = table_size if causal else 2 * table_size - 1
    table = rng.normal(size=(heads, rows, head_dim)).astype(np.float32)
    return query, key, value, table


@pytest.mark.parametrize("beyond", ["zero", "clamp"])
@pytest.mark.parametrize(("causal", "window"), [(True, 0), (True, 2), (False, 0), (False, 3)])
@pytest.mark.parametrize(("length", "table_size"), [(7, 7), (7, 3), (7, 12), (1, 1), (1, 4), (6, 1)])
def test_equals_a_double_loop(length, table_size, causal, window, beyond):
    inputs = random_inputs(length, table_size, causal=causal)
    pattern = relative_distances.Pattern(causal, window, beyond)
    expected = double_loop(*inputs, pattern)
    np.testing.assert_allclose(relative_attention.relative_attention(*inputs, pattern), expected, atol=3e-6)


@pytest.mark.parametrize("beyond", ["zero", "clamp"])
@pytest.mark.parametrize("window", [0, 3])
@pytest.mark.parametrize("table_size", [3, 12])
def test_step_equals_the_whole_sequence_at_every_position(table_size, window, beyond):
    length, pattern = 7, relative_distances.Pattern(window=window, beyond=beyond)
    query, key, value, table = random_inputs(length, table_size)
    expected = np.asarray(relative_attention.relative_attention(query, key, value, table, pattern))
    step = jax.jit(relative_attention.relative_attention_step, static_argnums=6)
    keys, values = np.swapaxes(key, 1, 2), np.swapaxes(value, 1, 2)
    for position in range(length):
        # What stands at the position and behind it must not matter.
        behind = np.arange(length)[:, None] >= position
        cache = kv_cache.KVCache(np.where(behind, 99, keys), np.where(behind, 99, values))
        got, cache = step(*(part[:, position] for part in (query, key, value)), cache, table, position, pattern)
        np.testing.assert_array_equal(cache.keys[:, :, : position + 1], keys[:, :, : position + 1])
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
    expected = double_loop(query, key, value, table, relative_distances.Pattern())
    np.testing.assert_allclose(got.astype(np.float32), expected, atol=0.05)


@pytest.mark.long
@pytest.mark.parametrize("length", [5, 300])
def test_the_default_back_end_of_a_prior_is_the_same_attention(length):
    """300 codes are more than it computes in one piece."""
    inputs = random_inputs(length, 7, heads=2, batch=1)
    plain = relative_attention.relative_attention(*inputs)
    blocked = relative_attention.relative_attention(*inputs, backend="blocked")
    np.testing.assert_allclose(blocked, plain, atol=2e-6)


def test_an_unknown_back_end_is_an_error():
    with pytest.raises(ValueError, match="attention='flash': must be one of"):
        relative_attention.relative_attention(*random_inputs(3, 3), backend="flash")


def test_kernels_for_tpus_are_an_error_elsewhere():
    with pytest.raises(ValueError, match="attention='pallas': its kernels run on TPUs, not on a cpu; use 'blocked'"):
        relative_attention.relative_attention(*random_inputs(3, 3), backend="pallas")
