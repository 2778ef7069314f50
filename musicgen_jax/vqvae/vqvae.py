"""The three-tier VQ-VAE: waveform <-> codes. Each tier has its own encoder, codebook and decoder."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.vqvae import decoder, encoder, quantizer


class TierVQVAE(nnx.Module):
    """Encoder, quantizer and decoder of one tier, from and to the waveform."""

    def __init__(
        self,
        tier: config.TierConfig,
        quantizer_config: config.QuantizerConfig,
        *,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.encoder = encoder.Encoder(tier, quantizer_config.code_width, dtype=dtype, rngs=rngs)
        self.quantizer = quantizer.Quantizer(quantizer_config, rngs=rngs)
        self.decoder = decoder.Decoder(tier, quantizer_config.code_width, dtype=dtype, rngs=rngs)

    def encode(self, audio: jax.Array) -> jax.Array:
        """[B, S] float32 -> codes [B, S / hop_length] int32."""
        return self.quantizer.encode(self.encoder(audio))

    def decode(self, codes: jax.Array) -> jax.Array:
        """codes [B, T] -> waveform [B, T * hop_length] float32."""
        return self.decoder(self.quantizer.decode(codes))


class VQVAE(nnx.Module):
    """Three independent tiers under one roof and one optimizer (Dhariwal et al. 2020, section 3)."""

    def __init__(self, vqvae_config: config.VQVAEConfig, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        self.config = vqvae_config
        for tier in config.TIERS:
            setattr(self, tier, TierVQVAE(vqvae_config.tier(tier), vqvae_config.quantizer, dtype=dtype, rngs=rngs))

    def tier(self, name: str) -> TierVQVAE:
        return getattr(self, name)

    def encode(self, audio: jax.Array) -> dict[str, jax.Array]:
        """[B, S] float32 -> {tier: codes [B, S / hop_length] int32}; S must be a multiple of the top hop length."""
        return {tier: self.tier(tier).encode(audio) for tier in config.TIERS}

    def decode(self, codes: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """{tier: codes [B, T]} -> {tier: waveform [B, T * hop_length]}; any subset of the tiers."""
        return {tier: self.tier(tier).decode(tier_codes) for tier, tier_codes in codes.items()}
