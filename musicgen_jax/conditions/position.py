"""Where in beat, bar and phrase a token of a score lies."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions.condition import Condition
from musicgen_jax.nn import tables
from musicgen_jax.sharding import rules

# Columns of the array `position`, and how many values each has; larger ones count as the largest.
COLUMNS = {
    "beat": 4,  # sixteenth of the quarter
    "bar": 32,  # sixteenth of the bar
    "fermata": 2,  # whether the end of a phrase is held now
    "until": 33,  # sixteenths until the next held end begins
}


class Position(nnx.Module):
    """Embeddings of what is known of the step that a token belongs to, and of which voice it is.

    A model is told them of the very token that it predicts: what is to come is what a composer plans.
    """

    stream, is_memory = 0x90515, False

    def __init__(self, model: config.ComposerConfig, axis_rules: rules.AxisRules | None = None, *, rngs: nnx.Rngs):
        self.voices, self.rules, width = model.voices, axis_rules or rules.AxisRules(), model.transformer.width
        self.voice = tables.table(model.voices, width, rngs)
        # The last row of each stands for a value that is not known.
        self.known = nnx.Dict({name: tables.table(size + 1, width, rngs) for name, size in COLUMNS.items()})

    def __call__(self, batch: dict[str, jax.Array], hidden: jax.Array | None = None) -> Condition:
        """Embeds the positions.

        Args:
          batch: `position` int32 [B, S, 4], what `COLUMNS` says of each of the window's S steps; -1 where unknown.
          hidden: bool [B], windows that are told nothing but the voices.

        Returns:
          added float32 [B, S * voices, D].
        """
        position = batch["position"]
        if hidden is not None:
            position = jnp.where(hidden[:, None, None], -1, position)
        steps = 0.0
        for column, (name, size) in enumerate(COLUMNS.items()):
            value = position[..., column]
            index = jnp.where(value < 0, size, jnp.minimum(value, size - 1))
            steps = steps + tables.lookup(self.known[name][...], index, self.rules)
        added = steps[:, :, None] + tables.collected(self.voice[...], self.rules)
        return Condition(added=added.reshape(added.shape[0], -1, added.shape[-1]))
