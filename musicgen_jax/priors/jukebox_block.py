"""Block of the published priors: narrow attention of one pattern and an MLP as wide as the residual stream."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import parameters
from musicgen_jax.transformer import factored_attention, kv_cache

_FACTORED = ("row", "column", "previous_row")


def layer_patterns(settings: config.JukeboxTransformerConfig) -> list[str]:
    """Attention pattern of every layer; see `sparse_masks`.

    `factored` repeats row, column, previous row. `factored_cross` attends to lyrics at 18, 28, ... 78, and the three
    start anew behind each. `factored_prime` has a prime layer in place of 15, 31, 63, a dense one in place of 47.
    """

    def pattern(layer: int) -> str:
        if settings.layers == "factored_cross" and layer >= 9:
            place = (layer - 9) % 10
            return "cross" if place == 9 else _FACTORED[place % 3]
        if settings.layers == "factored_prime" and layer % 16 == 15:
            return ("prime", "prime", "dense")[layer % 3]
        return _FACTORED[layer % 3]

    return [pattern(layer) for layer in range(settings.num_layers)]


def quick_gelu(x: jax.Array) -> jax.Array:
    """x * sigmoid(1.702 x), of any shape."""
    return x * jax.nn.sigmoid(1.702 * x)


def linear(
    sizes: tuple[int, int], std: float, names: tuple[str | None, str | None], *, dtype: jnp.dtype, rngs: nnx.Rngs
) -> nnx.Linear:
    """Linear map from sizes[0] to sizes[1] with normal weights and zero biases; `names` are the logical axes."""
    made = nnx.Linear(*sizes, kernel_init=nnx.initializers.normal(std), dtype=dtype, rngs=rngs)
    return parameters.layer(made, names, names[1:])


def norm(width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Layer norm with the published epsilon; float32 inside."""
    return parameters.layer(nnx.LayerNorm(width, epsilon=1e-5, use_fast_variance=False, dtype=dtype, rngs=rngs))


class FactoredAttention(nnx.Module):
    """Projections and attention of one pattern. Queries, keys and values lie packed in one matrix, in this order."""

    def __init__(
        self,
        settings: config.JukeboxTransformerConfig,
        pattern: str,
        *,
        row_length: int,
        prime_length: int,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.pattern, self.num_heads = pattern, settings.num_heads
        self.lengths = {"row_length": row_length, "prime_length": prime_length}
        width, inner, std = settings.width, settings.attention_width, 0.02 * settings.init_scale
        if pattern == "cross":
            self.query = linear((width, inner), std, ("width", "heads"), dtype=dtype, rngs=rngs)
            self.key_value = linear((width, 2 * inner), std, ("width", "heads"), dtype=dtype, rngs=rngs)
        else:
            self.qkv = linear((width, 3 * inner), std, ("width", "heads"), dtype=dtype, rngs=rngs)
        self.out = linear((inner, width), _out_std(pattern, std), ("heads", "width"), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, encoded: jax.Array | None) -> tuple[jax.Array, kv_cache.KVCache]:
        """[B, T, D] and, for "cross", encoded lyrics [B, L, D] -> ([B, T, D], keys and values)."""
        if self.pattern == "cross":
            query, (key, value) = self._heads(self.query(x), 1)[0], self._heads(self.key_value(encoded), 2)
        else:
            query, key, value = self._heads(self.qkv(x), 3)
        mixed = factored_attention.attention(self.pattern, query, key, value, **self.lengths)
        return self.out(mixed.reshape(*x.shape[:2], -1)), kv_cache.from_sequence(key, value)

    def step(self, x: jax.Array, cache: kv_cache.KVCache, position: jax.Array) -> tuple[jax.Array, kv_cache.KVCache]:
        """One position, [B, D], with the layer's cache; a cross layer's cache stays as it is."""
        if self.pattern == "cross":
            query = self._heads(self.query(x), 1)[0]
        else:
            query, key, value = self._heads(self.qkv(x), 3)
            cache = cache.write(key, value, position)
        mixed = factored_attention.step(self.pattern, query, cache, position, **self.lengths)
        return self.out(mixed.reshape(x.shape[0], -1)), cache

    def _heads(self, packed: jax.Array, num: int) -> list[jax.Array]:
        """[..., num * attention width] -> `num` arrays [..., H, D_h]."""
        return [part.reshape(*part.shape[:-1], self.num_heads, -1) for part in jnp.split(packed, num, axis=-1)]


class JukeboxBlock(nnx.Module):
    """x + a + m with a = attention(norm(x)) and m = mlp(norm(x + a)); the stack has no norm at its end."""

    def __init__(
        self,
        settings: config.JukeboxTransformerConfig,
        pattern: str,
        *,
        row_length: int,
        prime_length: int,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        width, hidden, std = settings.width, settings.mlp_width, 0.02 * settings.init_scale
        self.attention_norm = norm(width, dtype=dtype, rngs=rngs)
        self.attention = FactoredAttention(
            settings, pattern, row_length=row_length, prime_length=prime_length, dtype=dtype, rngs=rngs
        )
        self.mlp_norm = norm(width, dtype=dtype, rngs=rngs)
        self.hidden = linear((width, hidden), std, ("width", "mlp"), dtype=dtype, rngs=rngs)
        self.out = linear((hidden, width), _out_std(pattern, std), ("mlp", "width"), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, encoded: jax.Array | None) -> tuple[jax.Array, kv_cache.KVCache]:
        """[B, T, D], encoded lyrics [B, L, D] or None -> ([B, T, D], the layer's keys and values)."""
        attended, cache = self.attention(self.attention_norm(x), encoded)
        return self._mlp(x + attended), cache

    def step(self, x: jax.Array, cache: kv_cache.KVCache, position: jax.Array) -> tuple[jax.Array, kv_cache.KVCache]:
        """One position, [B, D], with the layer's cache."""
        attended, cache = self.attention.step(self.attention_norm(x), cache, position)
        return self._mlp(x + attended), cache

    def _mlp(self, x: jax.Array) -> jax.Array:
        return x + self.out(quick_gelu(self.hidden(self.mlp_norm(x))))


def _out_std(pattern: str, std: float) -> float:
    """Cross layers start as the identity: a trained prior gets lyrics without forgetting anything."""
    return 0.0 if pattern == "cross" else std
