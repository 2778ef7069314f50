"""A table of entries that learn by gradient and can still restart.

A restart moves an entry at once, which no gradient can, and a training step moves parameters by gradients only. So an
entry is the sum of a parameter and an offset, a buffer; a restart sets the offset. The parameter, its optimizer state
and its moving average never jump.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax.nn import parameters
from musicgen_jax.quantizers import codebook


class LearnedCodebook(nnx.Module):
    """Parameter [K, W] and offsets [K, W], whose sum is the entries, and EMA counts [K]; all float32."""

    def __init__(self, num_codes: int, width: int, *, rngs: nnx.Rngs):
        self.learned = parameters.parameter(jnp.zeros((num_codes, width), jnp.float32), parameters.EMBEDDING)
        # Zero counts make nearly every code a candidate for restart, so the first update puts the entries on the data.
        self.offsets = codebook.CodebookState(jax.random.normal(rngs.params(), (num_codes, width), jnp.float32))
        self.counts = codebook.CodebookState(jnp.zeros(num_codes, jnp.float32))

    def entries(self) -> jax.Array:
        """The vectors that the codes stand for: float32 [K, W]."""
        return self.learned[...] + self.offsets[...]

    def restart(
        self, latents: jax.Array, codes: jax.Array, decay: float, fraction: float, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Counts the codes of a batch and puts those that fell out of use on latents of it.

        Args:
          latents: [B, T, W] of the global batch, in the space of the entries.
          codes: their codes [B, T, 1].
          decay: of the counts.
          fraction: a code used less than this share of uniform usage restarts.
          key: chooses the latents.

        Returns:
          "restarts": number of codes that restarted.
        """
        latents = jax.lax.stop_gradient(latents).reshape(-1, latents.shape[-1])
        counts = codebook.average_counts(self.counts[...], codes.reshape(-1), decay)
        unused, candidates, self.counts[...] = codebook.restarts(counts, latents, fraction, key)
        learned = jax.lax.stop_gradient(self.learned[...])
        self.offsets[...] = jnp.where(unused[:, None], candidates - learned, self.offsets[...])
        return {"restarts": jnp.sum(unused)}
