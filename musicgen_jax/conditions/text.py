"""Text: what a frozen encoder makes of a caption, projected to the model's width, a memory (Copet et al. 2023)."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions.condition import Condition
from musicgen_jax.transformer import weights


class Text(nnx.Module):
    """A caption's vectors through one linear layer. Where nothing is said, all is zero, and nothing is attended to."""

    stream, is_memory = 0x7E47, True

    def __init__(self, model: config.PriorConfig, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        self.padding, self.dtype = model.text_padding, dtype
        # At least one column: a config that a text encoder has not completed yet is built, too.
        inputs, width = max(model.text_width, 1), model.transformer.width
        self.project = weights.Linear(inputs, width, (None, "width"), ("width",), dtype=dtype, rngs=rngs)

    def __call__(self, batch: dict[str, jax.Array], hidden: jax.Array | None = None) -> Condition:
        """Projects the vectors.

        Args:
          batch: `text` float32 [B, M, W], from the encoder; `text_mask` bool [B, M], which of them are of the caption:
            none of one that nobody knows.
          hidden: bool [B], windows that are told no caption.

        Returns:
          memory [B, M, D], zero where nothing is said, and its mask; without one where attention sees these zeros.
        """
        memory, exists = self.projected(batch, hidden)
        return Condition(memory=memory, memory_mask=exists if self.padding == "masked" else None)

    def projected(self, batch: dict[str, jax.Array], hidden: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """The vectors [B, M, D], and which of them are of the caption, bool [B, M]; arguments as of `__call__`."""
        exists = batch["text_mask"] if hidden is None else batch["text_mask"] & ~hidden[:, None]
        return jnp.where(exists[..., None], self.project(batch["text"].astype(self.dtype)), 0), exists
