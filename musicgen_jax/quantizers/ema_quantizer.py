"""Vector quantizer whose codebook learns by exponential moving averages, with restart of unused codes.

van den Oord et al. 2017 (appendix A.1) for the averages, Dhariwal et al. 2020 (section 3) for the restarts.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.quantizers import codebook, quantized


class EMAQuantizer(nnx.Module):
    """One codebook: entries [K, W], and moving averages of how often each is used, `counts` [K], and of the sum of the
    latents that use it, `sums` [K, W]; all float32. An entry is the mean of its latents, sums / counts."""

    straight: ClassVar[bool] = True  # the output passes its gradient to the input unchanged, and to nothing else

    def __init__(self, quantizer_config: config.QuantizerConfig, *, rngs: nnx.Rngs):
        self.config = quantizer_config
        shape = (quantizer_config.num_codes, quantizer_config.code_width)
        self.entries = codebook.CodebookState(jax.random.normal(rngs.params(), shape, jnp.float32))
        # Zero counts make every code a candidate for restart, so the first update initialises the codebook from data.
        self.counts = codebook.CodebookState(jnp.zeros(shape[0], jnp.float32))
        self.sums = codebook.CodebookState(jnp.zeros(shape, jnp.float32))

    def encode(self, latents: jax.Array) -> jax.Array:
        """Nearest entries: [B, T, W] float32 -> [B, T, 1] int32."""
        return codebook.nearest(latents, self.entries[...])[..., None]

    def decode(self, codes: jax.Array) -> jax.Array:
        """Entries of integer codes: [B, T, 1] -> [B, T, W] float32."""
        return self.entries[...][codes[..., 0]]

    def codebook(self) -> jax.Array:
        """What each code decodes to: [1, K, W] float32."""
        return self.entries[...][None]

    def __call__(self, latents: jax.Array, key: jax.Array | None = None) -> quantized.Quantized:
        """Quantizes [B, T, W]; the gradient of the output with respect to the input is the identity."""
        codes = jax.lax.stop_gradient(self.encode(latents))
        return quantized.by_entries(latents, codes, self.decode(codes), learns=False)

    def update(self, latents: jax.Array, codes: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """One moving-average update of the codebook, then restart of codes that fell out of use.

        Args:
          latents: encoder outputs [B, T, W] of the global batch.
          codes: their codes [B, T, 1].
          key: chooses the restart candidates.

        Returns:
          "restarts": number of codes that restarted.
        """
        settings = self.config
        latents = jax.lax.stop_gradient(latents).reshape(-1, settings.code_width)
        codes, decay = codes.reshape(-1), settings.ema_decay
        counts = codebook.average_counts(self.counts[...], codes, decay)
        sums = decay * self.sums[...] + (1 - decay) * jax.ops.segment_sum(latents, codes, settings.num_codes)
        unused, candidates, counts = codebook.restarts(counts, latents, settings.restart_fraction, key)
        sums = jnp.where(unused[:, None], candidates * counts[:, None], sums)
        self.counts[...] = counts
        self.sums[...] = sums
        self.entries[...] = sums / counts[:, None]
        return {"restarts": jnp.sum(unused)}
