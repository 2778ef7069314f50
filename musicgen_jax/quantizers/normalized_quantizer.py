"""Vector quantizer that compares directions in few dimensions (Kumar et al. 2023, DAC, section 3.2).

Latents are projected to `lookup_width` dimensions, the entry of the highest cosine is taken (Yu et al. 2021), and
projected back. The entries and both projections learn by gradient; entries out of use restart.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import parameters
from musicgen_jax.quantizers import codebook, learned_codebook, quantized

_EPSILON = 1e-12  # square of the shortest vector that has a direction


class NormalizedQuantizer(nnx.Module):
    """One codebook in `lookup_width` dimensions, between a projection to and one from these; all float32."""

    straight: ClassVar[bool] = False  # the projections learn by the output's gradient

    def __init__(self, quantizer_config: config.QuantizerConfig, *, rngs: nnx.Rngs):
        self.config = quantizer_config
        width, lookup_width = quantizer_config.code_width, quantizer_config.lookup_width
        exact = {"precision": jax.lax.Precision.HIGHEST, "rngs": rngs}
        self.project_in = parameters.layer(nnx.Linear(width, lookup_width, **exact))
        self.project_out = parameters.layer(nnx.Linear(lookup_width, width, **exact))
        self.table = learned_codebook.LearnedCodebook(quantizer_config.num_codes, lookup_width, rngs=rngs)

    def encode(self, latents: jax.Array) -> jax.Array:
        """Entries of the highest cosine: [B, T, W] float32 -> [B, T, 1] int32."""
        return self._lookup(self.project_in(latents))

    def decode(self, codes: jax.Array) -> jax.Array:
        """Entries of integer codes, projected back: [B, T, 1] -> [B, T, W] float32."""
        return self.project_out(self.table.entries()[codes[..., 0]])

    def codebook(self) -> jax.Array:
        """What each code decodes to: [1, K, W] float32."""
        return self.project_out(self.table.entries())[None]

    def __call__(self, latents: jax.Array, key: jax.Array | None = None) -> quantized.Quantized:
        """Quantizes [B, T, W]; between the projections the gradient is the identity, and there the losses are taken."""
        projected = self.project_in(latents)
        codes = jax.lax.stop_gradient(self._lookup(projected))
        entries = self.table.entries()[codes[..., 0]]
        return quantized.Quantized(
            codes=codes,
            latents=self.project_out(quantized.straight_through(projected, entries)),
            commitment_loss=jnp.mean((projected - jax.lax.stop_gradient(entries)) ** 2),
            codebook_loss=jnp.mean((jax.lax.stop_gradient(projected) - entries) ** 2),
            latent_power=jnp.mean(latents**2),
        )

    def update(self, latents: jax.Array, codes: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Restarts codes that fell out of use; arguments and result as `LearnedCodebook.restart` has them."""
        settings = self.config
        projected = self.project_in(latents)
        return self.table.restart(projected, codes, settings.ema_decay, settings.restart_fraction, key)

    def _lookup(self, projected: jax.Array) -> jax.Array:
        """Codes [B, T, 1] of projected latents [B, T, lookup_width]: of unit vectors the nearest is that of the highest
        cosine."""
        return codebook.nearest(_unit(projected), _unit(self.table.entries()))[..., None]


def _unit(vectors: jax.Array) -> jax.Array:
    """Vectors [..., W] at length one; zero stays zero."""
    return vectors * jax.lax.rsqrt(jnp.sum(vectors**2, axis=-1, keepdims=True) + _EPSILON)
