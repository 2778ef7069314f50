"""The VQ-VAE: waveform <-> codes of one or more streams. Each has its own encoder, quantizer and decoder.

A "tier" here is one stream of codes with all that makes and reads them. Of one tier and a residual quantizer, the same
module is the residual tokenizer; with the network of a codec in the place of the tier's it is that codec.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.quantizers import quantizer
from musicgen_jax.tokenizers.vqvae import ddsp_decoder, decoder, encoder


class TierVQVAE(nnx.Module):
    """Encoder, quantizer and decoder of one stream, from and to the waveform.

    The decoder is a stack of transposed convolutions (`decoder`), a synthesizer (`ddsp`), or the sum of both, as
    `vqvae_config.decoder` says.
    """

    def __init__(self, vqvae_config: config.Streams, name: str, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        tier, code_width = vqvae_config.streams[name], vqvae_config.quantizer.code_width
        self.encoder = encoder.make(tier, code_width, vqvae_config.sample_rate, dtype=dtype, rngs=rngs)
        self.quantizer = quantizer.make(vqvae_config.quantizer, rngs=rngs)
        if vqvae_config.has_convolutions:
            self.decoder = decoder.Decoder(tier, code_width, dtype=dtype, rngs=rngs)
        if vqvae_config.has_ddsp:
            self.ddsp = ddsp_decoder.DDSPDecoder(
                vqvae_config.ddsp, code_width, tier.hop_length, vqvae_config.sample_rate, dtype=dtype, rngs=rngs
            )

    def encode(self, audio: jax.Array) -> jax.Array:
        """[B, S] float32 -> codes [B, S / hop_length, Q] int32."""
        return self.quantizer.encode(self.encoder(audio))

    def reconstruct(self, latents: jax.Array, start: jax.Array | int = 0, key: jax.Array | None = None) -> jax.Array:
        """Quantized latents [B, T, code_width] -> waveform [B, T * hop_length] float32.

        Args:
          latents: from the quantizer.
          start: where the first of them stands in its track, in codes: the synthesizer's noise depends on it.
          key: draws that noise anew, for training.
        """
        parts = []
        if hasattr(self, "decoder"):
            parts.append(self.decoder(latents))
        if hasattr(self, "ddsp"):
            parts.append(self.ddsp(latents, start, key))
        return sum(parts)

    def decode(self, codes: jax.Array, start: jax.Array | int = 0) -> jax.Array:
        """Codes [B, T, Q'], Q' <= Q -> waveform [B, T * hop_length] float32; `start` as in `reconstruct`."""
        return self.reconstruct(self.quantizer.decode(codes), start)


# (config, name of the stream, dtype, rngs) -> a module with what `TierVQVAE` has: encoder, quantizer, and its methods.
Network = Callable[..., nnx.Module]


class VQVAE(nnx.Module):
    """Tiers that share nothing but the optimizer (Dhariwal et al. 2020, section 3)."""

    def __init__(
        self,
        vqvae_config: config.Streams,
        *,
        network: Network = TierVQVAE,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.config = vqvae_config
        for name in vqvae_config.streams:
            setattr(self, name, network(vqvae_config, name, dtype=dtype, rngs=rngs))

    def tier(self, name: str) -> TierVQVAE:
        """That of a stream, by its name."""
        return getattr(self, name)

    def encode(self, audio: jax.Array) -> dict[str, jax.Array]:
        """[B, S] float32 -> {tier: codes [B, S / hop_length, Q] int32}; S a multiple of the longest hop."""
        return {tier: self.tier(tier).encode(audio) for tier in self.config.streams}

    def decode(self, codes: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """{tier: codes [B, T, Q]} -> {tier: waveform [B, T * hop_length]}; any subset of the tiers."""
        return {tier: self.tier(tier).decode(tier_codes) for tier, tier_codes in codes.items()}
