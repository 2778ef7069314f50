"""EnCodec (Defossez et al. 2022): SEANet around a residual quantizer. Bit rates are numbers of codebooks, the first
ones of all."""

import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.quantizers import quantizer
from musicgen_jax.tokenizers.codec import network
from musicgen_jax.tokenizers.encodec import seanet
from musicgen_jax.tokenizers.vqvae import vqvae


class Encodec(network.Network):
    """Waveform [B, S] <-> codes [B, T, Q]; of stereo [B, S, 2]. `name` is that of its stream."""

    def __init__(self, settings: config.EncodecConfig, name: str, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        del name
        self.encoder = seanet.Encoder(settings, dtype=dtype, rngs=rngs)
        self.quantizer = quantizer.make(settings.quantizer, rngs=rngs)
        self.decoder = seanet.Decoder(settings, dtype=dtype, rngs=rngs)


def functional(settings: config.EncodecConfig) -> modules.Functional:
    """The codec alone as pure functions: a module with one tier, of its stream."""
    return modules.Functional(lambda rngs: vqvae.VQVAE(settings, network=Encodec, rngs=rngs))
