"""Pre-norm Transformer block."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax.nn import parameters
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import attention, kv_cache, weights


def quick_gelu(x: jax.Array) -> jax.Array:
    """x * sigmoid(1.702 x), of any shape."""
    return x * jax.nn.sigmoid(1.702 * x)


# Their gradients compute them again: kept for the backward pass, the parts are six arrays as large as the input.
ACTIVATIONS = {
    "gelu": jax.checkpoint(nnx.gelu),  # by way of tanh
    "exact_gelu": jax.checkpoint(functools.partial(nnx.gelu, approximate=False)),
    "quick_gelu": jax.checkpoint(quick_gelu),
}


class MLP(nnx.Module):
    """Two matrices around an activation; the second starts with values of standard deviation `out_std`."""

    def __init__(self, settings: attention.Settings, out_std: float, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        init, out_init = (nnx.initializers.normal(std) for std in (settings.init_std, out_std))
        width, hidden = settings.width, settings.mlp_width
        self.activation = settings.activation
        shared = {"use_bias": settings.biases, "dtype": dtype, "rngs": rngs}
        self.hidden = weights.Linear(width, hidden, ("width", "mlp"), ("mlp",), kernel_init=init, **shared)
        self.out = weights.Linear(hidden, width, ("mlp", "width"), kernel_init=out_init, **shared)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D]."""
        return self.out(ACTIVATIONS[self.activation](self.hidden(x)))


def norm(settings: attention.Settings, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Layer norm with the epsilon of the settings; float32 inside, whatever the compute dtype."""
    epsilon, fast = settings.norm_epsilon, not settings.exact_variance
    made = nnx.LayerNorm(settings.width, epsilon=epsilon, use_fast_variance=fast, dtype=dtype, rngs=rngs)
    return parameters.layer(made)


class Block(nnx.Module):
    """x += attention(norm(x)); x += memory_attention(norm(x)); x += mlp(norm(x)), each only if wanted.

    A block of kind "cross" has no attention to the window itself, and starts as the identity.
    """

    def __init__(
        self,
        settings: attention.Settings,
        kind: str,
        span: attention.Span,
        axis_rules: rules.AxisRules,
        *,
        reads_memory: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        """Args:
        settings: sizes, activation, norm.
        kind: see `attention.self_attention`, or "cross".
        span: of the sequence.
        axis_rules: layout on a mesh.
        reads_memory: attend to a memory behind the attention to the window; "cross" does so in any case.
        dtype: of activations.
        rngs: initial parameters.
        """
        self.rules, self.dropout = axis_rules, settings.dropout
        self.reads_window, self.reads_memory = kind != "cross", reads_memory or kind == "cross"
        if self.reads_window:
            self.attention_norm = norm(settings, dtype=dtype, rngs=rngs)
            self.attention = attention.self_attention(settings, kind, span, axis_rules, dtype=dtype, rngs=rngs)
        if self.reads_memory:
            self.memory_norm = norm(settings, dtype=dtype, rngs=rngs)
            self.memory_attention = attention.CrossAttention(settings, dtype=dtype, rngs=rngs)
        self.has_mlp = settings.mlp_width > 0
        if self.has_mlp:
            self.mlp_norm = norm(settings, dtype=dtype, rngs=rngs)
            self.mlp = MLP(settings, settings.out_std if self.reads_window else 0.0, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        key: jax.Array | None,
        memory: jax.Array | None = None,
        memory_mask: jax.Array | None = None,
    ) -> tuple[jax.Array, kv_cache.LayerCache]:
        """A window.

        Args:
          x: [B, T, D].
          key: turns dropout on.
          memory: [B, M, D], where the block reads one.
          memory_mask: bool [B, M], what exists of it; None is all.

        Returns:
          ([B, T, D], keys and values of the window and of the memory).
        """
        names, own, of_memory = ("batch", "residual_sequence", "residual"), None, None
        if self.reads_window:
            attended, own = self.attention(self.attention_norm(x))
            x = rules.constrain(x + self._drop(attended, key, 0), self.rules, names)
        if self.reads_memory:
            attended, of_memory = self.memory_attention(self.memory_norm(x), memory, memory_mask)
            x = rules.constrain(x + self._drop(attended, key, 2), self.rules, names)
        if self.has_mlp:
            x = x + self._drop(self.mlp(self.mlp_norm(x)), key, 1)
        return rules.constrain(x, self.rules, names), kv_cache.LayerCache(own, of_memory)

    def step(
        self, x: jax.Array, cache: kv_cache.LayerCache, position: jax.Array
    ) -> tuple[jax.Array, kv_cache.LayerCache]:
        """One position, [B, D], with the layer's cache."""
        own = cache.own
        if self.reads_window:
            attended, own = self.attention.step(self.attention_norm(x), own, position)
            x = x + attended
        if self.reads_memory:
            x = x + self.memory_attention.step(self.memory_norm(x), cache.memory)
        if self.has_mlp:
            x = x + self.mlp(self.mlp_norm(x))
        return x, kv_cache.LayerCache(own, cache.memory)

    def _drop(self, x: jax.Array, key: jax.Array | None, index: int) -> jax.Array:
        if key is None or self.dropout == 0:
            return x
        kept = jax.random.bernoulli(jax.random.fold_in(key, index), 1 - self.dropout, x.shape)
        return jnp.where(kept, x / (1 - self.dropout), 0).astype(x.dtype)
