"""Self-attention with relative positions (Huang et al. 2019, Music Transformer, sections 3.3 and 3.4).

Logits are (q_i . k_j + q_i . e_{i-j}) / sqrt(D_h) for the keys j that query i sees. Each head has its own table of
distances; what is beyond it uses no table (logit contribution 0), as in the authors' code, or its furthest row.
"""

import jax
import jax.numpy as jnp

from musicgen_jax import config
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import blocked_attention, cached_attention, kv_cache, relative_distances, weights

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
      UserError: an unknown back end, or one that this platform does not have.
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
    by_distance = jnp.einsum("bihd,hmd->bhim", query, rows, preferred_element_type=jnp.float32)
    logits = by_content + relative_distances.skew(by_distance, length)
    index = jnp.arange(length)
    seen = pattern.visible(index[:, None] - index[None])
    shares = jax.nn.softmax(jnp.where(seen, logits, relative_distances.MASKED), axis=-1)
    return jnp.einsum("bhij,bjhd->bihd", shares.astype(value.dtype), value)


def relative_attention_step(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    cache: kv_cache.Cache,
    table: weights.Weight,
    position: jax.Array,
    pattern: relative_distances.Pattern = CAUSAL,
) -> tuple[jax.Array, kv_cache.Cache]:
    """Attention of one new position to itself and to the cache; equal to row `position` of `relative_attention`.

    Args:
      query, key, value: of the position, [B, H, D] in the compute dtype.
      cache: of the positions before, with R rows, more than the pattern's window; rows that are not seen may hold any
        finite numbers.
      table: [H, M, D].
      position: int32 scalar.
      pattern: a causal one.

    Returns:
      ([B, H, D], the cache with this position).
    """
    num_rows = cache.num_rows
    query = query * query.shape[2] ** -0.5
    by_distance = weights.einsum("bhd,hmd->bhm", query, table, query.dtype, jnp.float32)[..., :num_rows]
    beyond = num_rows - by_distance.shape[2]
    mode = "edge" if pattern.beyond == "clamp" else "constant"
    by_distance = jnp.pad(by_distance, ((0, 0), (0, 0), (0, beyond)), mode=mode)
    # Row r has the distance (position - r) mod R: the distances in falling order, turned round. No gather.
    by_row = jnp.roll(by_distance[..., ::-1], position + 1, axis=2)
    return cached_attention.attend(query, key, value, cache, position, by_row, pattern.visible)
