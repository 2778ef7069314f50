"""Vector quantizer whose codebook learns by exponential moving averages, with restart of unused codes.

van den Oord et al. 2017 (appendix A.1) for the averages, Dhariwal et al. 2020 (section 3) for the restarts. Counts,
sums and restart candidates are taken over the global batch: under `jax.jit` with sharded arrays every reduction below
spans all devices.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config


class CodebookState(nnx.Variable):
    """Learned by averages, not by gradients; checkpointed with the parameters."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Quantized:
    """What the quantizer makes of a batch of latents.

    Attributes:
      codes: int32 [B, T].
      latents: float32 [B, T, W], the chosen codebook entries; gradients pass straight through to the encoder.
      commitment_loss: scalar |z_e - sg(e)|^2, averaged over all elements.
      latent_power: scalar, mean square of the encoder's output.
    """

    codes: jax.Array
    latents: jax.Array
    commitment_loss: jax.Array
    latent_power: jax.Array


class Quantizer(nnx.Module):
    """Codebook of one tier: entries [K, W], EMA counts [K] and EMA sums [K, W], all float32."""

    def __init__(self, quantizer_config: config.QuantizerConfig, *, rngs: nnx.Rngs):
        self.config = quantizer_config
        shape = (quantizer_config.num_codes, quantizer_config.code_width)
        entries = jax.random.normal(rngs.params(), shape, jnp.float32)
        self.entries = CodebookState(entries)
        # Zero counts make every code a candidate for restart, so the first update initialises the codebook from data.
        self.counts = CodebookState(jnp.zeros(shape[0], jnp.float32))
        self.sums = CodebookState(jnp.zeros(shape, jnp.float32))

    def encode(self, latents: jax.Array) -> jax.Array:
        """Index of the nearest entry by squared Euclidean distance: [B, T, W] float32 -> [B, T] int32."""
        entries = self.entries[...]
        # |z - e|^2 = |z|^2 - 2 z.e + |e|^2; |z|^2 is the same for every entry.
        scores = jnp.einsum("...w,kw->...k", latents, entries, precision=jax.lax.Precision.HIGHEST)
        return jnp.argmax(2 * scores - jnp.sum(entries**2, axis=-1), axis=-1).astype(jnp.int32)

    def decode(self, codes: jax.Array) -> jax.Array:
        """Entries of integer codes: [B, T] -> [B, T, W] float32."""
        return self.entries[...][codes]

    def __call__(self, latents: jax.Array) -> Quantized:
        """Quantizes [B, T, W]; the gradient of the output with respect to the input is the identity."""
        codes = jax.lax.stop_gradient(self.encode(latents))
        entries = self.decode(codes)
        return Quantized(
            codes=codes,
            latents=latents + jax.lax.stop_gradient(entries - latents),
            commitment_loss=jnp.mean((latents - jax.lax.stop_gradient(entries)) ** 2),
            latent_power=jnp.mean(latents**2),
        )

    def update(self, latents: jax.Array, codes: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """One moving-average update of the codebook, then restart of codes that fell out of use.

        Args:
          latents: encoder outputs [B, T, W] of the global batch.
          codes: their codes [B, T].
          key: chooses the restart candidates.

        Returns:
          "restarts": number of codes that restarted.
        """
        settings = self.config
        latents = jax.lax.stop_gradient(latents).reshape(-1, settings.code_width)
        codes = codes.reshape(-1)
        counts = jax.ops.segment_sum(jnp.ones(codes.shape, jnp.float32), codes, settings.num_codes)
        sums = jax.ops.segment_sum(latents, codes, settings.num_codes)
        decay = settings.ema_decay
        counts = decay * self.counts[...] + (1 - decay) * counts
        sums = decay * self.sums[...] + (1 - decay) * sums

        uniform_usage = latents.shape[0] / settings.num_codes  # counts of a code if all were used equally
        unused = counts < settings.restart_fraction * uniform_usage
        candidates = latents[jax.random.randint(key, (settings.num_codes,), 0, latents.shape[0])]
        # A restarted code starts with the count of uniform usage: time to win vectors before it is judged again.
        counts = jnp.where(unused, uniform_usage, counts)
        sums = jnp.where(unused[:, None], candidates * uniform_usage, sums)
        self.counts[...] = counts
        self.sums[...] = sums
        self.entries[...] = sums / counts[:, None]
        return {"restarts": jnp.sum(unused)}
