"""How long the track is, and where in it each position lies."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions import condition
from musicgen_jax.nn import tables
from musicgen_jax.sharding import rules


class Timing(nnx.Module):
    """Embeddings of the total length and, at every position, of the elapsed share of the track; in equal bins."""

    stream = 0x71313

    def __init__(self, model: config.PriorConfig, axis_rules: rules.AxisRules | None = None, *, rngs: nnx.Rngs):
        self.config, self.rules = model, axis_rules or rules.AxisRules()
        width, bins = model.transformer.width, model.timing_bins
        self.total = tables.table(bins, width, rngs)
        self.elapsed = tables.table(bins, width, rngs)
        if model.timing_dropout:
            self.no_timing = tables.table(1, width, rngs)

    def __call__(self, batch: dict[str, jax.Array], hidden: jax.Array | None = None) -> condition.Condition:
        """Embeds the times.

        Args:
          batch: `start` int32 [B], position of the window's first code in its track; `length` int32 [B], codes of the
            whole track.
          hidden: bool [B], windows that are told a trained vector instead.

        Returns:
          added float32 [B, T, D].
        """
        settings, bins, length = self.config, self.config.timing_bins, batch["length"]
        seconds = length / settings.codes_per_second
        total = jnp.clip((seconds / settings.max_seconds * bins).astype(jnp.int32), 0, bins - 1)
        share = (batch["start"][:, None] + jnp.arange(settings.context)) / jnp.maximum(length[:, None], 1)
        elapsed = jnp.clip((share * bins).astype(jnp.int32), 0, bins - 1)
        whole = tables.lookup(self.total[...], total, self.rules)[:, None]
        added = whole + tables.lookup(self.elapsed[...], elapsed, self.rules)
        if hidden is not None:
            added = condition.instead(hidden, self.no_timing[...], added)
        return condition.Condition(added=added)
