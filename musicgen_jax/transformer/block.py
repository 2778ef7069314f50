"""Pre-norm Transformer block."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import parameters
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import attention, kv_cache, weights

# Its gradient computes it again: kept for the backward pass, its parts are six arrays as large as its input.
_gelu = jax.checkpoint(nnx.gelu)


class MLP(nnx.Module):
    """Two matrices around a GELU."""

    def __init__(self, settings: config.TransformerConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        out_init = nnx.initializers.normal(0.02 / (2 * settings.num_layers) ** 0.5)
        width, hidden = settings.width, settings.mlp_width
        self.hidden = weights.Linear(
            width, hidden, ("width", "mlp"), ("mlp",), kernel_init=init, dtype=dtype, rngs=rngs
        )
        self.out = weights.Linear(hidden, width, ("mlp", "width"), kernel_init=out_init, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D]."""
        return self.out(_gelu(self.hidden(x)))


class Block(nnx.Module):
    """x += attention(norm(x)); x += mlp(norm(x)). Norms run in float32 inside, whatever the compute dtype."""

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
        self.rules, self.dropout = axis_rules, settings.dropout
        self.attention_norm = parameters.layer(nnx.LayerNorm(settings.width, dtype=dtype, rngs=rngs))
        self.attention = attention.SelfAttention(
            settings, max_distance, axis_rules, causal=causal, dtype=dtype, rngs=rngs
        )
        self.mlp_norm = parameters.layer(nnx.LayerNorm(settings.width, dtype=dtype, rngs=rngs))
        self.mlp = MLP(settings, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, key: jax.Array | None) -> tuple[jax.Array, kv_cache.KVCache]:
        """[B, T, D] -> ([B, T, D], keys and values of the window). `key` turns dropout on."""
        names = ("batch", "residual_sequence", "residual")
        attended, cache = self.attention(self.attention_norm(x))
        x = rules.constrain(x + self._drop(attended, key, 0), self.rules, names)
        x = x + self._drop(self.mlp(self.mlp_norm(x)), key, 1)
        return rules.constrain(x, self.rules, names), cache

    def step(self, x: jax.Array, cache: kv_cache.Cache, position: jax.Array) -> tuple[jax.Array, kv_cache.Cache]:
        """One position, [B, D], with the layer's cache."""
        attended, cache = self.attention.step(self.attention_norm(x), cache, position)
        x = x + attended
        return x + self.mlp(self.mlp_norm(x)), cache

    def _drop(self, x: jax.Array, key: jax.Array | None, index: int) -> jax.Array:
        if key is None or self.dropout == 0:
            return x
        kept = jax.random.bernoulli(jax.random.fold_in(key, index), 1 - self.dropout, x.shape)
        return jnp.where(kept, x / (1 - self.dropout), 0).astype(x.dtype)
