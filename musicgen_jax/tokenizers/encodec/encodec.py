"""EnCodec (Defossez et al. 2022): SEANet around a residual quantizer. Bit rates are numbers of codebooks, the first
ones of all."""

import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.quantizers import quantizer
from musicgen_jax.tokenizers.codec import network
from musicgen_jax.tokenizers.encodec import seanet


class Encodec(network.Network):
    """Waveform [B, S] <-> codes [B, T, Q]; of stereo [B, S, 2]. `name` is that of its stream."""

    def __init__(
        self, settings: config.EncodecConfig, name: str, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs
    ):
        del name
        self.encoder = seanet.Encoder(settings, dtype=dtype, rngs=rngs)
        self.quantizer = quantizer.make(settings.quantizer, rngs=rngs)
        self.decoder = seanet.Decoder(settings, dtype=dtype, rngs=rngs)


def codebooks_of(settings: config.EncodecConfig, kilobits: float) -> int:
    """How many codebooks a bit rate has room for, in kbit/s.

    Raises:
      UserError: not even one, or more than there are.
    """
    quantizer_config = settings.quantizer
    # Counted in whole bits a code and whole frames, as the published bit rates are.
    bits = (quantizer_config.num_codes - 1).bit_length()
    each = bits * settings.sample_rate / settings.hop_length / 1000
    most = quantizer_config.num_codebooks
    number = int(kilobits / each + 1e-6) if kilobits > 0 else 0
    config.require(
        1 <= number <= most,
        f"`bandwidth`={kilobits:g}: a codebook takes {each:g} kbit/s and there are {most}; choose from {each:g} to "
        f"{most * each:g}",
    )
    return number
