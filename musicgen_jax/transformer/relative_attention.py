"""Self-attention with relative positions (Huang et al. 2019, Music Transformer, sections 3.3 and 3.4).

Logits are (q_i . k_j + q_i . e_{i-j}) / sqrt(D_h) for the keys j that query i sees. Each head has its own table of
distances; what is beyond it uses no table (logit contribution 0), as in the authors' code, or its furthest row.
"""

import jax
import jax.numpy as jnp

from musicgen_jax import config
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import blocked_attention, relative_distances

CAUSAL = relative_distances.Pattern()


def relative_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    table: jax.Array,
    pattern: relative_distances.Pattern = CAUSAL,
    backend: str = "reference",
    axis_rules: rules.AxisRules | None = None,
) -> jax.Array:
    """Attention of a whole sequence to itself.

    Args:
      query, key, value: [B, T, H, D] in the compute dtype.
      table: float32 embeddings of distances, [H, M, D] of 0 .. M - 1; where `pattern` is not causal, [H, 2 M - 1, D]
        of -(M - 1) .. M - 1.
      pattern: who sees whom, and what is beyond the table.
      backend: "reference" (plain, memory quadratic in T), "blocked" (linear in T, any platform) or "pallas"
        (linear, for TPUs).
      axis_rules: layout on a mesh; the default rules if None. The kernels of "pallas" need to know it.

    Returns:
      [B, T, H, D] in the compute dtype; the softmax runs in float32.

    Raises:
      ValueError: an unknown back end, or one that this platform does not have.
    """
    config.require(
        backend in config.ATTENTIONS, f"attention={backend!r}: must be one of {', '.join(config.ATTENTIONS)}"
    )
    if backend == "pallas":
        from musicgen_jax.transformer import pallas_attention  # Pallas takes long to import, and few need it

        axis_rules = rules.AxisRules() if axis_rules is None else axis_rules
        return pallas_attention.attention(query, key, value, table, pattern, axis_rules)
    if backend == "blocked" and query.shape[1] > blocked_attention.SHORT:
        return blocked_attention.attention(query, key, value, table, pattern)
    return _reference(query, key, value, table, pattern)


def _reference(
    query: jax.Array, key: jax.Array, value: jax.Array, table: jax.Array, pattern: relative_distances.Pattern
) -> jax.Array:
    length, head_dim = query.shape[1], query.shape[3]
    query = query * head_dim**-0.5
    by_content = jnp.einsum("bihd,bjhd->bhij", query, key, preferred_element_type=jnp.float32)
    # Keys that are ahead have no column where attention is causal: the mask hides what the skew leaves there.
    columns = length + 1 if pattern.causal else 2 * length
    rows = relative_distances.strip(table, pattern, length - 1, columns).astype(query.dtype)
    by_distance = jnp.einsum("bihd,hmd->bhim", query, rows)
    logits = by_content + relative_distances.skew(by_distance, length).astype(jnp.float32)
    index = jnp.arange(length)
    seen = pattern.visible(index[:, None] - index[None])
    weights = jax.nn.softmax(jnp.where(seen, logits, relative_distances.MASKED), axis=-1)
    return jnp.einsum("bhij,bjhd->bihd", weights.astype(value.dtype), value)


def relative_attention_step(
    query: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    table: jax.Array,
    position: jax.Array,
    pattern: relative_distances.Pattern = CAUSAL,
) -> jax.Array:
    """Attention of one new position to the cache; equal to row `position` of `relative_attention`.

    Args:
      query: [B, H, D].
      keys, values: the cache [B, H, C, D]; rows behind `position` may hold anything.
      table: [H, M, D].
      position: int32 scalar, index of the query in the cache.
      pattern: a causal one.

    Returns:
      [B, H, D].
    """
    size, head_dim = keys.shape[2], query.shape[2]
    query = query * head_dim**-0.5
    by_content = jnp.einsum("bhd,bhcd->bhc", query, keys, preferred_element_type=jnp.float32)
    by_distance = jnp.einsum("bhd,hmd->bhm", query, table.astype(query.dtype)).astype(jnp.float32)
    distance = position - jnp.arange(size)
    by_position = jnp.take(by_distance, jnp.clip(distance, 0, table.shape[1] - 1), axis=2)
    if pattern.beyond == "zero":
        by_position = jnp.where(distance < table.shape[1], by_position, 0.0)
    logits = by_content + by_position
    weights = jax.nn.softmax(jnp.where(pattern.visible(distance), logits, relative_distances.MASKED), axis=-1)
    return jnp.einsum("bhc,bhcd->bhd", weights.astype(values.dtype), values)
