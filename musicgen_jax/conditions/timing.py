"""How long the track is, and where in it each position lies."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions import condition
from musicgen_jax.nn import tables
from musicgen_jax.sharding import rules


class Timing(nnx.Module):
    """Embeddings of the total length and, at every position, of the elapsed share of the track; in equal bins."""

    stream, is_memory = 0x71313, False

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


class SampleTiming(nnx.Module):
    """Timing of a published top prior, in samples of audio: total length, absolute and relative position."""

    def __init__(self, model: config.JukeboxPriorConfig, *, rngs: nnx.Rngs):
        self.config = model
        width, bins, std = model.transformer.width, model.timing_bins, model.transformer.init_std / 2
        self.total = tables.table(bins, width, rngs, std)
        self.absolute = tables.table(bins, width, rngs, std)
        self.relative = tables.table(bins, width, rngs, std)

    def __call__(self, batch: dict[str, jax.Array]) -> condition.Condition:
        """Embeds the times.

        Args:
          batch: int32 [B], samples: `total` of the whole track, `offset` at which the window starts in it, `length` of
            the window.

        Returns:
          added float32 [B, T, D].
        """
        settings, total, offset = self.config, batch["total"], batch["offset"]
        low, high = (value * settings.sample_rate for value in (settings.min_seconds, settings.max_seconds))
        ends = total, offset, offset + batch["length"]
        total, start, end = (value.astype(jnp.float32)[:, None] for value in ends)
        # NumPy divides here: XLA would multiply by a rounded reciprocal, and a position might fall into the next bin.
        share = np.arange(settings.context, dtype=np.float32) / np.float32(settings.context)
        first, last = start / total, jnp.clip(end / total, 0.0, 1.0)
        return condition.Condition(
            _binned(self.total[...], total, low, high)
            + _binned(self.absolute[...], start + (end - start) * share, 0.0, high)
            + _binned(self.relative[...], first + (last - first) * share, 0.0, 1.0)
        )


def _binned(table: jax.Array, value: jax.Array, low: float, high: float) -> jax.Array:
    """Embedding of float32 [B, T] by equal bins from low to high; NaN beyond."""
    # The barrier keeps the division a division, for the reason above.
    span = jax.lax.optimization_barrier(jnp.float32(high - low))
    index = jnp.floor(len(table) * ((value - low) / span)).astype(jnp.int32)
    return tables.existing_rows(table, jnp.where(value == high, len(table) - 1, index))
