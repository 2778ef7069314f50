"""What a published prior is told: labels, timing, and the codes of the tier above."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import resnet
from musicgen_jax.priors import jukebox_block, jukebox_stack


class LabelConditioner(nnx.Module):
    """Artist and genre words make the start vector; timing, at the top tier only, a vector for every position."""

    def __init__(self, model: config.JukeboxPriorConfig, *, rngs: nnx.Rngs):
        self.config = model
        width, bins, std = model.transformer.width, model.timing_bins, 0.01 * model.transformer.init_scale
        self.genre = jukebox_stack.table((model.num_genres, width), std, rngs)
        self.artist = jukebox_stack.table((model.num_artists, width), std, rngs)
        if not model.upsampling:
            self.total = jukebox_stack.table((bins, width), std, rngs)
            self.absolute = jukebox_stack.table((bins, width), std, rngs)
            self.relative = jukebox_stack.table((bins, width), std, rngs)

    def start(self, artist: jax.Array, genres: jax.Array) -> jax.Array:
        """artist int32 [B], genres int32 [B, max_genres] with -1 in empty places -> [B, D]."""
        words = jnp.where(genres[..., None] == -1, 0.0, _rows(self.genre[...], genres))
        return _rows(self.artist[...], artist) + words.sum(axis=1)

    def timing(self, total: jax.Array, offset: jax.Array, length: jax.Array) -> jax.Array:
        """Vectors of all positions, [B, T, D].

        Args:
          total: int32 [B], samples of the whole track.
          offset: int32 [B], the track's sample at which the window starts.
          length: int32 [B], samples of the window.
        """
        settings = self.config
        seconds = settings.min_seconds, settings.max_seconds
        low, high = (value * settings.sample_rate for value in seconds)
        total, start, end = (value.astype(jnp.float32)[:, None] for value in (total, offset, offset + length))
        # NumPy divides here: XLA would multiply by a rounded reciprocal, and a position might fall into the next bin.
        share = np.arange(settings.context, dtype=np.float32) / np.float32(settings.context)
        absolute = start + (end - start) * share
        first, last = start / total, jnp.clip(end / total, 0.0, 1.0)
        return (
            self._lookup(self.total, total, low, high)
            + self._lookup(self.absolute, absolute, 0.0, high)
            + self._lookup(self.relative, first + (last - first) * share, 0.0, 1.0)
        )

    def _lookup(self, bins: nnx.Param, value: jax.Array, low: float, high: float) -> jax.Array:
        """Embedding of float32 [B, T] by equal bins from low to high; NaN beyond."""
        # The barrier keeps the division a division, for the reason above.
        span = jax.lax.optimization_barrier(jnp.float32(high - low))
        index = jnp.floor(bins.shape[0] * ((value - low) / span)).astype(jnp.int32)
        index = jnp.where(value == high, bins.shape[0] - 1, index)
        return _rows(bins[...], index)


def _rows(table: jax.Array, index: jax.Array) -> jax.Array:
    """table[index], [..., D], NaN where there is no such row: JAX would take the nearest."""
    exists = (index >= 0) & (index < table.shape[0])
    return jnp.where(exists[..., None], table[index], jnp.nan)


class UpsamplerConditioner(nnx.Module):
    """Codes of the tier above -> one vector for each code of this tier: the up-block of the tokenizer's decoder.

    Unlike there, the small dilations come first, and they start again after `dilation_cycle` blocks.
    """

    def __init__(self, model: config.JukeboxPriorConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        settings, width = model.conditioner, model.transformer.width
        doublings = model.upsampling.bit_length() - 1
        dilations = [settings.dilation_growth ** (r % settings.dilation_cycle) for r in range(settings.depth)]
        outputs = [settings.width] * (doublings - 1) + [width]
        scale = settings.depth**-0.5 if model.scaled_residuals else 1.0
        self.codes = jukebox_stack.table((model.num_codes, width), 0.02 * model.transformer.init_scale, rngs)
        self.project = resnet.convolution(width, settings.width, 3, dtype=dtype, rngs=rngs)
        self.stacks = nnx.List(
            [resnet.ResidualStack(settings.width, dilations, scale, dtype=dtype, rngs=rngs) for _ in outputs]
        )
        self.upsampling = nnx.List(
            [resnet.Upsampling(settings.width, size, dtype=dtype, rngs=rngs) for size in outputs]
        )
        self.norm = jukebox_block.norm(width, dtype=jnp.float32, rngs=rngs)
        self.dtype = dtype

    def __call__(self, above: jax.Array) -> jax.Array:
        """int32 [B, T / upsampling] -> [B, T, D] float32."""
        x = self.project(self.codes[...][above].astype(self.dtype))
        for stack, upsampling in zip(self.stacks, self.upsampling, strict=True):
            x = upsampling(stack(x))
        return self.norm(x)
