"""Attention of one new position to itself and to the positions before it, whose keys and values are in a cache."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from musicgen_jax.transformer import kv_cache, relative_distances


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    cache: kv_cache.Cache,
    position: jax.Array,
    by_row: jax.Array | float = 0.0,
    visible: Callable[[jax.Array], jax.Array | bool] = lambda distance: True,
) -> tuple[jax.Array, kv_cache.Cache]:
    """Softmax attention, and the cache with this position.

    Args:
      query, key, value: of the position, [B, H, D] in the compute dtype; the query scaled.
      cache: of the positions before, with R rows; rows that are not seen may hold any finite numbers.
      position: int32 scalar.
      by_row: float32 [B, H, R], what is added to the logit of each row.
      visible: whether a distance, int32 [R] of positions back, is seen.

    Returns:
      ([B, H, D], the cache with this position).
    """
    distance = (position - jnp.arange(cache.num_rows)) % cache.num_rows
    # The position's own row is not in the cache yet: XLA would copy a cache that is written before it is read.
    own, seen = distance == 0, visible(distance) & (distance <= position)
    with_itself = jnp.sum(query.astype(jnp.float32) * key, axis=-1, keepdims=True)
    by_content = jnp.where(own, with_itself, cache.score(query))
    shares = jax.nn.softmax(jnp.where(seen, by_content + by_row, relative_distances.MASKED), axis=-1)
    own_share = jnp.sum(jnp.where(own, shares, 0.0), axis=-1, keepdims=True)
    mixed = (cache.mix(jnp.where(own, 0.0, shares), query.dtype) + own_share * value).astype(query.dtype)
    # Likewise one that might be written before it is read: the zeros make the row wait for the result.
    return mixed, cache.write(key + 0 * mixed, value + 0 * mixed, position)
