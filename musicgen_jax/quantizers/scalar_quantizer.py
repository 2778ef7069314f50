"""Finite scalar quantization (Mentzer et al. 2023): no table of entries, but a fixed grid.

A latent vector is projected to few dimensions, each bounded and rounded to one of so many levels (`fsq_levels`). The
points of that grid are numbered; their number is the code. Nothing but the two projections is learned: there is no
codebook, no commitment loss and no restart.
"""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import parameters
from musicgen_jax.quantizers import quantized

_MARGIN = 1e-3  # keeps the bound's ends off the half-levels, where rounding would leave the grid


class ScalarQuantizer(nnx.Module):
    """The projections to the grid's dimensions, one for each of `fsq_levels`, and back; float32."""

    straight: ClassVar[bool] = False  # the projections learn by the output's gradient

    def __init__(self, quantizer_config: config.QuantizerConfig, *, rngs: nnx.Rngs):
        self.config = quantizer_config
        width, dimensions = quantizer_config.code_width, len(quantizer_config.fsq_levels)
        exact = {"precision": jax.lax.Precision.HIGHEST, "rngs": rngs}
        self.project_in = parameters.layer(nnx.Linear(width, dimensions, **exact))
        self.project_out = parameters.layer(nnx.Linear(dimensions, width, **exact))

    def encode(self, latents: jax.Array) -> jax.Array:
        """Grid points as integers: [B, T, W] float32 -> [B, T, 1] int32."""
        return self._codes(self._grid(latents))

    def decode(self, codes: jax.Array) -> jax.Array:
        """The grid points that integer codes number, projected back: [B, T, 1] -> [B, T, W] float32."""
        levels = jnp.array(self.config.fsq_levels)
        digits = codes // jnp.array(self._place_values()) % levels
        return self._from_grid((digits - levels // 2).astype(jnp.float32))

    def codebook(self) -> jax.Array:
        """What each code decodes to: [1, K, W] float32."""
        return self.decode(jnp.arange(self.config.num_codes)[None, :, None])

    def __call__(self, latents: jax.Array, key: jax.Array | None = None) -> quantized.Quantized:
        """Quantizes [B, T, W]; the gradient takes the rounding for the identity."""
        grid = self._grid(latents)
        return quantized.Quantized(
            codes=jax.lax.stop_gradient(self._codes(grid)),
            latents=self._from_grid(grid),
            commitment_loss=jnp.zeros(()),
            codebook_loss=None,
            latent_power=jnp.mean(latents**2),
        )

    def update(self, latents: jax.Array, codes: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Changes nothing and returns no metrics: the grid is fixed. Arguments as those of the other quantizers."""
        return {}

    def _grid(self, latents: jax.Array) -> jax.Array:
        """[B, T, W] -> whole numbers [B, T, D] from -(L // 2) to (L - 1) // 2 (section 3.1 and appendix A.1).

        An even number of levels has none in the middle, so its bound is moved by half a level; inside the tanh the
        shift keeps zero near zero.
        """
        levels = jnp.array(self.config.fsq_levels)
        half = (levels - 1) * (1 - _MARGIN) / 2
        offset = jnp.where(levels % 2 == 0, 0.5, 0.0)
        bounded = jnp.tanh(self.project_in(latents) + jnp.tan(offset / half)) * half - offset
        return quantized.straight_through(bounded, jnp.round(bounded))

    def _from_grid(self, grid: jax.Array) -> jax.Array:
        """Whole numbers [B, T, D] -> [B, T, W], by way of [-1, 1]."""
        return self.project_out(grid / (jnp.array(self.config.fsq_levels) // 2))

    def _codes(self, grid: jax.Array) -> jax.Array:
        """Whole numbers [B, T, D] -> mixed-radix integers [B, T, 1], the first dimension running fastest."""
        digits = jnp.round(grid).astype(jnp.int32) + jnp.array(self.config.fsq_levels) // 2
        return jnp.sum(digits * jnp.array(self._place_values()), axis=-1, keepdims=True, dtype=jnp.int32)

    def _place_values(self) -> list[int]:
        levels = self.config.fsq_levels
        return [math.prod(levels[:index]) for index in range(len(levels))]
