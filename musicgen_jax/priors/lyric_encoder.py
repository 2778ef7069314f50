"""Lyrics of a window -> vectors that a prior attends to."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.priors import jukebox_block, jukebox_stack


class LyricEncoder(nnx.Module):
    """A causal transformer over characters with a loss of its own, projected to the prior's width."""

    def __init__(self, model: config.JukeboxPriorConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        settings, width = model.lyric_encoder, model.transformer.width
        self.stack = jukebox_stack.JukeboxStack(
            settings,
            vocabulary=model.lyric_vocabulary,
            length=model.lyric_tokens,
            own_start=True,
            remat=model.remat,
            dtype=dtype,
            rngs=rngs,
        )
        std = 0.02 * settings.init_scale
        self.project = jukebox_block.linear((settings.width, width), std, (None, "width"), dtype=jnp.float32, rngs=rngs)
        self.norm = jukebox_block.norm(width, dtype=jnp.float32, rngs=rngs)
        self.head = jukebox_stack.table((model.lyric_vocabulary, width), 0.02 * model.transformer.init_scale, rngs)

    def __call__(self, lyrics: jax.Array) -> jax.Array:
        """Characters int32 [B, L] -> [B, L, D] float32; position t has seen the characters before t."""
        return self.norm(self.project(self.stack(self.stack.inputs(lyrics))))

    def predict(self, encoded: jax.Array) -> jax.Array:
        """What `__call__` returned -> logits of the characters, [B, L, lyric vocabulary] float32."""
        return jnp.einsum("bld,vd->blv", encoded, self.head[...])
