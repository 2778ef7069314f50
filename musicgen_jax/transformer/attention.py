"""Multi-head self-attention with relative positions: whole sequences, and where causal one step with a cache."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn.parameters import ALONE, BOTH, EMBEDDING, MATRIX, parameter
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import kv_cache, relative_attention, relative_distances, weights


class SelfAttention(nnx.Module):
    """Projections, relative attention, output projection; num_heads * head_dim may be less than the width."""

    def __init__(
        self,
        settings: config.TransformerConfig,
        max_distance: int,
        axis_rules: rules.AxisRules,
        *,
        causal: bool = True,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.rules, self.backend = axis_rules, settings.attention
        self.pattern = relative_distances.Pattern(causal, settings.window, settings.beyond)
        width, heads, head_dim = settings.width, settings.num_heads, settings.head_dim
        init = nnx.initializers.normal(0.02)
        # GPT-2's scaling: the residual stream keeps its variance whatever the depth.
        out_init = nnx.initializers.normal(0.02 / (2 * settings.num_layers) ** 0.5)
        qkv, axes = init(rngs.params(), (width, 3, heads, head_dim)), ("width", None, "heads", None)
        # Queries, keys and values are three matrices, each of all heads.
        self.qkv = parameter(qkv, MATRIX, axes, inputs=(-4,), outputs=(-2, -1), int8=BOTH)
        out, axes = out_init(rngs.params(), (heads, head_dim, width)), ("heads", None, "width")
        self.out = parameter(out, MATRIX, axes, inputs=(-3, -2), outputs=(-1,), int8=BOTH)
        rows = max_distance if causal else 2 * max_distance - 1
        table = nnx.initializers.normal(head_dim**-0.5)(rngs.params(), (heads, rows, head_dim))
        # Queries are never rounded: relative attention of whole sequences takes this table as an array, and one step
        # with a cache must agree with it.
        self.distances = parameter(table, EMBEDDING, ("heads", "distances", None), inputs=(-1,), int8=ALONE)
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> tuple[jax.Array, kv_cache.KVCache]:
        """[B, T, D] -> ([B, T, D], the window's keys and values)."""
        qkv = weights.einsum("btd,dnhk->btnhk", x, self.qkv[...], self.dtype)  # the product's own order: no copy
        names = ("batch", None, "heads", None)  # whole sequences, even where they are divided between the blocks
        query, key, value = (rules.constrain(qkv[:, :, part], self.rules, names) for part in range(3))
        # Collected here, once: a table that is divided would be collected at every turn of a loop over blocks.
        table = rules.constrain(weights.dense(self.distances[...]), self.rules, ("heads", None, None))
        mixed = relative_attention.relative_attention(query, key, value, table, self.pattern, self.backend, self.rules)
        out = weights.einsum("bthk,hkd->btd", mixed, self.out[...], self.dtype)
        return out, kv_cache.from_sequence(key, value)

    def step(self, x: jax.Array, cache: kv_cache.Cache, position: jax.Array) -> tuple[jax.Array, kv_cache.Cache]:
        """One position: [B, D] and the layer's cache -> ([B, D], the cache with this position)."""
        # In this order of axes the product reads the matrix as it lies; in others XLA would transpose it at every step.
        qkv = weights.einsum("bd,dnhk->bnhk", x, self.qkv[...], self.dtype)
        query, key, value = qkv[:, 0], qkv[:, 1], qkv[:, 2]
        mixed, cache = relative_attention.relative_attention_step(
            query, key, value, cache, self.distances[...], position, self.pattern
        )
        return weights.einsum("bhk,hkd->bd", mixed, self.out[...], self.dtype), cache
