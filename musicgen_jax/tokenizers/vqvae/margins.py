"""How far the encoders and decoders of a VQ-VAE look, in whole frames of its coarsest stream.

Rounded up to these, the windows of every stream begin and end between two frames.
"""

from musicgen_jax import config
from musicgen_jax.tokenizers.chunked import Margin
from musicgen_jax.tokenizers.vqvae import ddsp_decoder, encoder


def of_encoder(vqvae_config: config.Streams) -> Margin:
    """How many samples before and after the samples of a frame decide its codes, in whichever stream that is most."""
    fields = [encoder.receptive_field(stream) for stream in vqvae_config.streams.values()]
    before, after = (max(side) for side in zip(*fields, strict=True))
    return Margin(before, after).whole(vqvae_config.hop_length)


def of_decoder(vqvae_config: config.Streams, stream: str) -> Margin:
    """How many samples before and after a sample have codes that it depends on.

    The decoder is the encoder's mirror image and one 3-tap convolution over samples. A code of the encoder depends on
    samples that lie before it; mirrored, those samples depend on a code that lies after them: so the sides change
    places. Where there is a synthesizer too, the farther of the two counts.
    """
    after, before = (side + 1 for side in encoder.receptive_field(vqvae_config.streams[stream]))
    if vqvae_config.has_ddsp:
        hop, sample_rate = vqvae_config.hop_lengths[stream], vqvae_config.sample_rate
        fields = ddsp_decoder.receptive_field(vqvae_config.ddsp, hop, sample_rate)
        before, after = max(before, fields[0]), max(after, fields[1])
    return Margin(before, after).whole(vqvae_config.hop_length)


def frames_together(vqvae_config: config.Streams, stream: str) -> int:
    """Of how many frames the number that is decoded must be a multiple: those of one frame of the synthesizer."""
    hop = vqvae_config.hop_lengths[stream]
    return max(hop, vqvae_config.ddsp.hop_length) // hop if vqvae_config.has_ddsp else 1
