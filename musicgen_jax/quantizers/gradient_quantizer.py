"""Vector quantizer whose codebook learns by gradient (van den Oord et al. 2017, equation 3), with restart."""

from typing import ClassVar

import jax
from flax import nnx

from musicgen_jax import config
from musicgen_jax.quantizers import codebook, learned_codebook, quantized


class GradientQuantizer(nnx.Module):
    """One codebook, a `LearnedCodebook` [K, W] in the space of the encoder's output."""

    straight: ClassVar[bool] = True  # the output passes its gradient to the input unchanged, and to nothing else

    def __init__(self, quantizer_config: config.QuantizerConfig, *, rngs: nnx.Rngs):
        self.config = quantizer_config
        self.table = learned_codebook.LearnedCodebook(
            quantizer_config.num_codes, quantizer_config.code_width, rngs=rngs
        )

    def encode(self, latents: jax.Array) -> jax.Array:
        """Nearest entries: [B, T, W] float32 -> [B, T, 1] int32."""
        return codebook.nearest(latents, self.table.entries())[..., None]

    def decode(self, codes: jax.Array) -> jax.Array:
        """Entries of integer codes: [B, T, 1] -> [B, T, W] float32."""
        return self.table.entries()[codes[..., 0]]

    def codebook(self) -> jax.Array:
        """What each code decodes to: [1, K, W] float32."""
        return self.table.entries()[None]

    def __call__(self, latents: jax.Array, key: jax.Array | None = None) -> quantized.Quantized:
        """Quantizes [B, T, W]; the gradient of the output with respect to the input is the identity."""
        codes = jax.lax.stop_gradient(self.encode(latents))
        return quantized.by_entries(latents, codes, self.decode(codes), learns=True)

    def update(self, latents: jax.Array, codes: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Restarts codes that fell out of use; arguments and result as `LearnedCodebook.restart` has them."""
        settings = self.config
        return self.table.restart(latents, codes, settings.ema_decay, settings.restart_fraction, key)
