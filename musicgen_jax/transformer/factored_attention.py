"""Attention over the factored patterns of `sparse_masks`: whole sequences on reshaped rows, and one step with a cache.

A row or a column is a short sequence of its own, so T queries cost T * row_length or T * T / row_length products
instead of T * T. Logits are scaled by head_dim ** -1/4 on queries and keys each (float16 does not overflow that way);
masks and the softmax are float32.
"""

import jax
import jax.numpy as jnp

from musicgen_jax.transformer import kv_cache, sparse_masks

MASKED = -1e9
PATTERNS = ("dense", "row", "column", "previous_row", "prime")


def attend(query: jax.Array, key: jax.Array, value: jax.Array, visible: sparse_masks.Mask | bool) -> jax.Array:
    """Softmax attention with a mask.

    Args:
      query: [..., T, H, D].
      key, value: [..., S, H, D].
      visible: bool, broadcasts to [..., H, T, S].

    Returns:
      [..., T, H, D]; zero where a query sees nothing.
    """
    scale = query.shape[-1] ** -0.25
    logits = jnp.einsum("...thd,...shd->...hts", query * scale, key * scale, preferred_element_type=jnp.float32)
    weights = jnp.where(visible, jax.nn.softmax(jnp.where(visible, logits, MASKED), axis=-1), 0.0)
    return jnp.einsum("...hts,...shd->...thd", weights.astype(value.dtype), value)


def attention(
    pattern: str, query: jax.Array, key: jax.Array, value: jax.Array, *, row_length: int, prime_length: int = 0
) -> jax.Array:
    """Attention of a whole sequence to itself.

    Args:
      pattern: one of `PATTERNS`.
      query, key, value: [B, T, H, D].
      row_length: positions of a row.
      prime_length: keys of the pattern "prime".

    Returns:
      [B, T, H, D], equal to `attend` with the mask of the pattern.
    """
    length = query.shape[1]
    if pattern in ("dense", "prime"):
        key, value = (part[:, :prime_length] if pattern == "prime" else part for part in (key, value))
        return attend(query, key, value, mask(pattern, length, key.shape[1], row_length, prime_length))
    # Rows are filled up at the end, where no causal pattern looks; no row comes after the last one.
    pad = -length % row_length
    rows = [_rows(jnp.pad(part, ((0, 0), (0, pad), (0, 0), (0, 0))), row_length) for part in (query, key, value)]
    if pattern == "column":
        by_column = [jnp.swapaxes(part, 1, 2) for part in rows]
        mixed = jnp.swapaxes(attend(*by_column, mask("dense", rows[0].shape[1], rows[0].shape[1])), 1, 2)
    elif pattern == "row":
        mixed = attend(*rows, mask("dense", row_length, row_length))
    else:
        later = attend(rows[0][:, 1:], rows[1][:, :-1], rows[2][:, :-1], True)
        mixed = jnp.concatenate([jnp.zeros_like(rows[2][:, :1]), later], axis=1)
    return mixed.reshape(query.shape[0], length + pad, *query.shape[2:])[:, :length]


def _rows(x: jax.Array, row_length: int) -> jax.Array:
    """[B, R * row_length, H, D] -> [B, R, row_length, H, D]."""
    return x.reshape(x.shape[0], -1, row_length, *x.shape[2:])


def mask(
    pattern: str, num_queries: int, num_keys: int, row_length: int = 1, prime_length: int = 0
) -> sparse_masks.Mask:
    """Boolean mask [num_queries, num_keys] of a pattern."""
    queries, keys = jnp.arange(num_queries)[:, None], jnp.arange(num_keys)[None]
    if pattern == "row":
        return sparse_masks.row(queries, keys, row_length)
    if pattern == "column":
        return sparse_masks.column(queries, keys, row_length)
    if pattern == "previous_row":
        return sparse_masks.previous_row(queries, keys, row_length)
    if pattern == "prime":
        return sparse_masks.prime(queries, keys, prime_length)
    return sparse_masks.dense(queries, keys)


def step(
    pattern: str,
    query: jax.Array,
    cache: kv_cache.KVCache,
    position: jax.Array,
    *,
    row_length: int,
    prime_length: int = 0,
) -> jax.Array:
    """Attention of one new position to the cache; equal to row `position` of `attention`.

    Reads only the keys that the pattern may see: one row, one column, the prime.

    Args:
      pattern: one of `PATTERNS`.
      query: [B, H, D].
      cache: [B, H, C, D], C a multiple of `row_length`; what stands behind `position` may be anything.
      position: int32 scalar, index of the query.
      row_length, prime_length: as in `attention`.

    Returns:
      [B, H, D].
    """
    row, place = position // row_length, position % row_length
    if pattern == "row":
        chosen, visible = _row_of(cache, row, row_length), jnp.arange(row_length) <= place
    elif pattern == "previous_row":
        chosen, visible = _row_of(cache, jnp.maximum(row - 1, 0), row_length), row > 0
    elif pattern == "column":
        chosen = jax.tree.map(lambda part: _split(part, row_length)[:, :, :, place], cache)
        visible = jnp.arange(chosen.keys.shape[2]) <= row
    else:
        size = prime_length if pattern == "prime" else cache.keys.shape[2]
        chosen = jax.tree.map(lambda part: part[:, :, :size], cache)
        visible = jnp.arange(size) <= position
    key, value = jnp.swapaxes(chosen.keys, 1, 2), jnp.swapaxes(chosen.values, 1, 2)
    return attend(query[:, None], key, value, visible)[:, 0]


def _row_of(cache: kv_cache.KVCache, row: jax.Array, row_length: int) -> kv_cache.KVCache:
    """[B, H, C, D] -> the row's [B, H, row_length, D]."""
    return jax.tree.map(lambda part: jax.lax.dynamic_slice_in_dim(part, row * row_length, row_length, axis=2), cache)


def _split(part: jax.Array, row_length: int) -> jax.Array:
    """[B, H, C, D] -> [B, H, C / row_length, row_length, D]."""
    return part.reshape(*part.shape[:2], -1, row_length, part.shape[3])
