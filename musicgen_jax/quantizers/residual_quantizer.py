"""Several codebooks in turn, each for what the ones before it leave over (Zeghidour et al. 2021, SoundStream).

A latent vector becomes Q codes, one of each of Q codebooks: the first codebook's entry that is nearest to the vector,
the second's that is nearest to the difference, and so on. The sum of the first Q' <= Q entries is an approximation of
the vector, and the better the larger Q' is.

So that a decoder learns to do with few codes, codebook dropout lets it hear a share of the training examples
(`codebook_dropout`, as Kumar et al. 2023, DAC, do) through their first Q' codebooks alone, Q' drawn evenly from 1 to Q
(section 3.3 of SoundStream). It concerns what the decoder hears: every codebook learns from every example.
"""

import functools
import operator

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.quantizers import quantized

DROPOUT_STREAM = 0xD209  # the caller's key may draw other things too


class ResidualQuantizer(nnx.Module):
    """Q quantizers of one codebook each, `stages`, all of one kind and config."""

    def __init__(self, quantizer_config: config.QuantizerConfig, stages: list[nnx.Module]):
        self.config = quantizer_config
        self.stages = nnx.List(stages)

    def encode(self, latents: jax.Array, num_codebooks: int | None = None) -> jax.Array:
        """Codes of the first `num_codebooks`, or of all: [B, T, W] float32 -> [B, T, Q] int32."""
        residual, codes = latents, []
        for stage in self.stages[:num_codebooks]:
            codes.append(stage.encode(residual))
            residual = residual - stage.decode(codes[-1])
        return jnp.concatenate(codes, axis=-1)

    def decode(self, codes: jax.Array) -> jax.Array:
        """Sum of the entries of the first Q' codebooks: integer codes [B, T, Q'], Q' <= Q -> [B, T, W] float32."""
        parts = [self.stages[q].decode(codes[..., q, None]) for q in range(codes.shape[-1])]
        return functools.reduce(operator.add, parts)

    def codebook(self) -> jax.Array:
        """What each code adds to what is decoded: [Q, K, W] float32."""
        return jnp.concatenate([stage.codebook() for stage in self.stages])

    def __call__(self, latents: jax.Array, key: jax.Array | None = None) -> quantized.Quantized:
        """Quantizes [B, T, W]; `key` turns codebook dropout on. The losses are means over the codebooks (EnCodec).

        The gradient passes straight through the sum: each codebook that passes it unchanged is taken out of the path
        of the next, or the later commitment losses would never reach the encoder and the sum would pass it Q times.
        Where projections learn by it, it goes through all of them (DAC).
        """
        heard = self._heard(latents.shape[0], key)
        residual, total, found = latents, jnp.zeros_like(latents), []
        for q, stage in enumerate(self.stages):
            found.append(stage(residual))
            # The numbers that `decode` gives, to the last bit: else the codebooks after this one would be trained on
            # other residuals than `encode` finds. The gradient is the stage's own.
            part = quantized.straight_through(found[-1].latents, stage.decode(found[-1].codes))
            total = total + jnp.where(q < heard, part, 0.0)
            residual = residual - (jax.lax.stop_gradient(part) if stage.straight else part)
        if all(stage.straight for stage in self.stages):
            total = quantized.straight_through(latents, total)
        learns = found[0].codebook_loss is not None
        return quantized.Quantized(
            codes=jnp.concatenate([one.codes for one in found], axis=-1),
            latents=total,
            commitment_loss=_mean([one.commitment_loss for one in found]),
            codebook_loss=_mean([one.codebook_loss for one in found]) if learns else None,
            latent_power=found[0].latent_power,
        )

    def update(self, latents: jax.Array, codes: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Updates the codebooks in order, each on what the updated ones before it leave.

        So the first update, which puts every entry on the data, puts those of the later codebooks on true residuals and
        not on those of random entries.

        Args:
          latents: encoder outputs [B, T, W] of the global batch.
          codes: their codes [B, T, Q], of which the first codebook's count; the others' are found anew on the way.
          key: chooses the restart candidates, others for each codebook.

        Returns:
          "restarts", if the kind has them: over all codebooks.
        """
        residual, codes, results = jax.lax.stop_gradient(latents), codes[..., :1], []
        for q, stage in enumerate(self.stages):
            results.append(stage.update(residual, codes, jax.random.fold_in(key, q)))
            if q + 1 < len(self.stages):
                residual = jax.lax.stop_gradient(residual - stage.decode(stage.encode(residual)))
                codes = self.stages[q + 1].encode(residual)
        return jax.tree.map(lambda *counts: sum(counts), *results)

    def _heard(self, batch_size: int, key: jax.Array | None) -> jax.Array:
        """Through how many codebooks the decoder hears each example: int32 [B, 1, 1], all unless `key` draws fewer."""
        most = len(self.stages)
        shape = (batch_size, 1, 1)
        if key is None or not self.config.codebook_dropout:
            return jnp.full(shape, most, jnp.int32)
        chosen_key, number_key = jax.random.split(jax.random.fold_in(key, DROPOUT_STREAM))
        chosen = jax.random.bernoulli(chosen_key, self.config.codebook_dropout, shape)
        return jnp.where(chosen, jax.random.randint(number_key, shape, 1, most + 1), most)


def _mean(values: list[jax.Array]) -> jax.Array:
    return sum(values) / len(values)
