"""What the networks of codecs share: one encoder and one decoder around a quantizer.

A codec is trained as a VQ-VAE of one stream is: same losses, balancer, discriminators and loop. What it has of its own
is this network, in the place of `vqvae.TierVQVAE`.
"""

import jax
from flax import nnx


class Network(nnx.Module):
    """A subclass makes the attributes.

    Attributes:
      encoder: waveform float32 [B, S] -> latents float32 [B, ceil(S / hop_length), W].
      quantizer: one of `quantizers.quantizer`.
      decoder: quantized latents [B, T, W] -> waveform float32 [B, T * hop_length].
    """

    def encode(self, audio: jax.Array) -> jax.Array:
        """[B, S] float32 -> codes [B, T, Q] int32."""
        return self.quantizer.encode(self.encoder(audio))

    def reconstruct(self, latents: jax.Array, start: jax.Array | int = 0, key: jax.Array | None = None) -> jax.Array:
        """Quantized latents [B, T, W] -> waveform [B, T * hop_length] float32; the two other arguments are of decoders
        that draw noise, which this one does not."""
        del start, key
        return self.decoder(latents)

    def decode(self, codes: jax.Array, start: jax.Array | int = 0) -> jax.Array:
        """Codes [B, T, Q'], Q' <= Q -> waveform [B, T * hop_length] float32."""
        return self.reconstruct(self.quantizer.decode(codes), start)
