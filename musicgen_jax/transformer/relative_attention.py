"""Causal self-attention with relative positions (Huang et al. 2019, Music Transformer, sections 3.3 and 3.4).

Logits are (q_i . k_j + q_i . e_{i-j}) / sqrt(D_h) for j <= i. Each head has its own table of distances e_0 .. e_{M-1},
row 0 being the query's own position; distances of M and more use no table (logit contribution 0), as in the authors'
code.
"""

import jax
import jax.numpy as jnp

# Large enough to silence a position in float32, small enough not to overflow float16.
MASKED = -3e4


def skew(relative_logits: jax.Array) -> jax.Array:
    """Turns logits by distance into logits by position, without a gather and in O(L^2) memory.

    Args:
      relative_logits: [..., L, L], where [i, m] belongs to query i and distance L - 1 - m.

    Returns:
      [..., L, L], where [i, j] belongs to query i and key j, right for j <= i; what is above the diagonal is garbage
      that the causal mask must hide.
    """
    length = relative_logits.shape[-1]
    batch = relative_logits.shape[:-2]
    padded = jnp.pad(relative_logits, [(0, 0)] * len(batch) + [(0, 0), (1, 0)])
    return padded.reshape(*batch, length + 1, length)[..., 1:, :]


def relative_attention(query: jax.Array, key: jax.Array, value: jax.Array, table: jax.Array) -> jax.Array:
    """Attention of a whole sequence to itself.

    Args:
      query, key, value: [B, T, H, D] in the compute dtype.
      table: [H, M, D] float32, embeddings of the distances 0 .. M - 1.

    Returns:
      [B, T, H, D] in the compute dtype; the softmax runs in float32.
    """
    length, head_dim = query.shape[1], query.shape[3]
    query = query * head_dim**-0.5
    by_content = jnp.einsum("bihd,bjhd->bhij", query, key, preferred_element_type=jnp.float32)
    by_distance = jnp.einsum("bihd,hmd->bhim", query, _by_column(table, length).astype(query.dtype))
    logits = by_content + skew(by_distance).astype(jnp.float32)
    causal = jnp.tril(jnp.ones((length, length), bool))
    weights = jax.nn.softmax(jnp.where(causal, logits, MASKED), axis=-1)
    return jnp.einsum("bhij,bjhd->bihd", weights.astype(value.dtype), value)


def _by_column(table: jax.Array, length: int) -> jax.Array:
    """[H, M, D] by distance -> [H, length, D] for distances length - 1 down to 0; zeros beyond the table."""
    size = table.shape[1]
    if size < length:
        table = jnp.pad(table, ((0, 0), (0, length - size), (0, 0)))
    return table[:, :length][:, ::-1]


def relative_attention_step(
    query: jax.Array, keys: jax.Array, values: jax.Array, table: jax.Array, position: jax.Array
) -> jax.Array:
    """Attention of one new position to the cache; equal to row `position` of `relative_attention`.

    Args:
      query: [B, H, D].
      keys, values: the cache [B, H, C, D]; rows behind `position` may hold anything.
      table: [H, M, D].
      position: int32 scalar, index of the query in the cache.

    Returns:
      [B, H, D].
    """
    size, head_dim = keys.shape[2], query.shape[2]
    query = query * head_dim**-0.5
    by_content = jnp.einsum("bhd,bhcd->bhc", query, keys, preferred_element_type=jnp.float32)
    by_distance = jnp.einsum("bhd,hmd->bhm", query, table.astype(query.dtype)).astype(jnp.float32)
    distance = position - jnp.arange(size)
    in_table = (distance >= 0) & (distance < table.shape[1])
    by_position = jnp.take(by_distance, jnp.clip(distance, 0, table.shape[1] - 1), axis=2)
    logits = by_content + jnp.where(in_table, by_position, 0.0)
    weights = jax.nn.softmax(jnp.where(distance >= 0, logits, MASKED), axis=-1)
    return jnp.einsum("bhc,bhcd->bhd", weights.astype(values.dtype), values)
