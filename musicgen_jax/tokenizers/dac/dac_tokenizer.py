"""A Descript Audio Codec as a tokenizer."""

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers.chunked import Margin
from musicgen_jax.tokenizers.codec import codec_tokenizer
from musicgen_jax.tokenizers.dac import dac, layers


class DACTokenizer(codec_tokenizer.CodecTokenizer):
    """Encodes and decodes with a codec on one device; windows are exactly the whole, for it is convolutions alone.

    A recording is padded with zeros to whole frames, and T frames decode to T * hop_length samples. Where a stride is
    odd, transformers' decoder leaves out the last sample at that resolution, and so ends some samples earlier; all
    before that are the same.
    """

    def __init__(self, dac_config: config.DACConfig, params: modules.Tree, buffers: modules.Tree):
        super().__init__(dac_config, dac.DAC, params, buffers)

    def encoder_margin(self) -> Margin:
        return Margin(*dac.receptive_field(self.config)).whole(self.config.hop_length)

    def decoder_margin(self) -> Margin:
        """The decoder is the encoder's mirror image, so the sides change places; but it begins with a convolution of
        seven taps over frames where the encoder ends with one of three."""
        more = self.config.hop_length * (layers.TAPS // 2 - 1)
        after, before = (side + more for side in dac.receptive_field(self.config))
        return Margin(before, after).whole(self.config.hop_length)
