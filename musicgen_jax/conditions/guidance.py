"""Guidance as a number that a model is told, in the place of a second row that is told less (Meng et al. 2022)."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions.condition import Condition
from musicgen_jax.nn import parameters

LEVELS = 17  # rows of the table, evenly from 1 to the most


class Guidance(nnx.Module):
    """A vector for how much the config's `guided_by` count, the same at every position: linear between the rows of a
    table. All start at zero, so that the model starts as what it was."""

    stream, is_memory = 0x6D1DE, False

    def __init__(self, model: config.PriorConfig, *, rngs: nnx.Rngs):
        self.most = model.most_guidance
        table = jnp.zeros((LEVELS, model.transformer.width))
        self.levels = parameters.parameter(table, parameters.EMBEDDING, (None, "width"))

    def __call__(self, batch: dict[str, jax.Array], hidden: jax.Array | None = None) -> Condition:
        """Embeds the guidance.

        Args:
          batch: `guidance` float32 [B], from 1 to the config's `most_guidance`; without it 1, what the data have.
          hidden: None; it is never hidden.

        Returns:
          added float32 [B, 1, D].
        """
        guidance = batch.get("guidance", jnp.ones(len(batch["codes"])))
        place = (guidance - 1) / (self.most - 1) * (LEVELS - 1)
        near = jnp.maximum(1 - jnp.abs(place[:, None] - jnp.arange(LEVELS)), 0)
        return Condition(added=(near @ self.levels[...])[:, None])
