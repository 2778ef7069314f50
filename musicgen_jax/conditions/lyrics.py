"""Lyrics: characters that a published prior attends to, or has before its codes."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions.condition import Condition
from musicgen_jax.nn import tables
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import block, stack, weights


class LyricEncoder(nnx.Module):
    """A causal transformer over characters with a loss of its own, projected to the prior's width: a memory."""

    def __init__(
        self, model: config.JukeboxPriorConfig, axis_rules: rules.AxisRules, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        settings, width = model.lyric_encoder, model.transformer.width
        self.stack = stack.TokenStack(
            settings,
            vocabulary=model.lyric_vocabulary,
            length=model.lyric_tokens,
            own_start=True,
            remat=model.remat,
            axis_rules=axis_rules,
            dtype=dtype,
            rngs=rngs,
        )
        init = nnx.initializers.normal(settings.init_std)
        self.project = weights.Linear(
            settings.width, width, (None, "width"), ("width",), kernel_init=init, dtype=jnp.float32, rngs=rngs
        )
        self.norm = block.norm(model.transformer, dtype=jnp.float32, rngs=rngs)
        self.head = tables.table(model.lyric_vocabulary, width, rngs, model.transformer.init_std)
        self.dtype = dtype

    def __call__(self, batch: dict[str, jax.Array]) -> Condition:
        """`lyrics` int32 [B, L], characters -> memory [B, L, D] float32; position t has seen those before t."""
        x = self.stack(self.stack.inputs(batch["lyrics"]).astype(self.dtype))
        return Condition(memory=self.norm(self.project(x.astype(jnp.float32))))

    def predict(self, memory: jax.Array) -> jax.Array:
        """What `__call__` returned -> logits of the characters, [B, L, lyric vocabulary] float32."""
        return jnp.einsum("bld,vd->blv", memory, self.head[...])


class LyricPrefix(nnx.Module):
    """Characters as the first tokens of the prior's own sequence."""

    def __call__(self, batch: dict[str, jax.Array]) -> Condition:
        """`lyrics` int32 [B, L] -> prefix."""
        return Condition(prefix=batch["lyrics"])
