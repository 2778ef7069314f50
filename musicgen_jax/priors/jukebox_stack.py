"""Tokens -> activations: embedding, learned positions, and blocks of different attention patterns."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import parameters
from musicgen_jax.priors import jukebox_block
from musicgen_jax.transformer import kv_cache


class JukeboxStack(nnx.Module):
    """Autoregressive over `length` tokens: the input at position t is the token before it, and a start vector at 0."""

    def __init__(
        self,
        settings: config.JukeboxTransformerConfig,
        *,
        vocabulary: int,
        length: int,
        prime_length: int = 0,
        own_start: bool = False,
        remat: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        """Args:
        settings: sizes and the order of the attention patterns.
        vocabulary: tokens there are.
        length: positions.
        prime_length: keys of prime attention.
        own_start: learn the start vector; without it, it is an input.
        remat: recompute each block's activations in the backward pass.
        dtype: of the blocks' activations; the residual stream enters and leaves in float32.
        rngs: initial parameters.
        """
        width, scale = settings.width, settings.init_scale
        self.tokens = table((vocabulary, width), 0.02 * scale, rngs)
        self.positions = table((length, width), 0.01 * scale, rngs)
        if own_start:
            self.start = table((1, width), 0.01 * scale, rngs)
        lengths = {"row_length": length // settings.num_rows, "prime_length": prime_length}
        self.blocks = nnx.List(
            [
                jukebox_block.JukeboxBlock(settings, pattern, **lengths, dtype=dtype, rngs=rngs)
                for pattern in jukebox_block.layer_patterns(settings)
            ]
        )
        self.dtype, self.remat = dtype, remat

    def inputs(self, tokens: jax.Array, start: jax.Array | None = None) -> jax.Array:
        """int32 [B, T] and start vectors [B, D] (None: the learned one) -> [B, T, D] float32, shifted by one."""
        start = jnp.broadcast_to(self.start[...], (tokens.shape[0], self.start.shape[1])) if start is None else start
        embedded = jnp.concatenate([start[:, None], self.tokens[...][tokens[:, :-1]]], axis=1)
        return embedded + self.positions[...][: tokens.shape[1]]

    def __call__(self, x: jax.Array, encoded: jax.Array | None = None) -> jax.Array:
        """[B, T, D], T at most the length, and encoded lyrics [B, L, D] or None -> [B, T, D] float32."""
        run = jukebox_block.JukeboxBlock.__call__
        if self.remat:
            run = jax.checkpoint(run)
        x = x.astype(self.dtype)
        for block in self.blocks:
            x, _ = run(block, x, encoded)
        return x.astype(jnp.float32)

    def prefill(self, x: jax.Array, encoded: jax.Array | None = None) -> list[kv_cache.KVCache]:
        """The layers' caches after the inputs [B, T, D] of all positions."""
        x, caches = x.astype(self.dtype), []
        for block in self.blocks:
            x, cache = block(x, encoded)
            caches.append(cache)
        return caches

    def step(
        self, x: jax.Array, caches: list[kv_cache.KVCache], position: jax.Array
    ) -> tuple[jax.Array, list[kv_cache.KVCache]]:
        """One position, [B, D] -> ([B, D] float32, the caches with it)."""
        x, updated = x.astype(self.dtype), []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = block.step(x, cache, position)
            updated.append(cache)
        return x.astype(jnp.float32), updated


def table(shape: tuple[int, int], std: float, rngs: nnx.Rngs) -> nnx.Param:
    """Table [rows, D] of normal values; divided over its width only, since the number of rows may be odd."""
    values = nnx.initializers.normal(std)(rngs.params(), shape)
    return parameters.parameter(values, parameters.EMBEDDING, (None, "width"))
