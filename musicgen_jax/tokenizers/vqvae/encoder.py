"""The encoder of one stream: waveform -> latent vectors, one a frame, which a quantizer turns into codes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import resnet

LOWEST_PITCH = 36  # MIDI, 65 Hz, of the semitones that an encoder may read
CYCLES = 17  # of a semitone within its window: fewer, and its neighbours would be heard in it
WINDOW_FRAMES = 9  # the longest window, in frames; odd, so that it lies around one


def make(
    tier: config.TierConfig, code_width: int, sample_rate: int, *, dtype: jnp.dtype, rngs: nnx.Rngs
) -> "Encoder | SemitoneEncoder":
    """The encoder of a stream that reads what `tier.features` says."""
    if tier.features == "semitones":
        return SemitoneEncoder(tier, code_width, sample_rate, dtype=dtype, rngs=rngs)
    return Encoder(tier, code_width, dtype=dtype, rngs=rngs)


class EncoderBlock(nnx.Module):
    """For each of `strides` a strided convolution and a residual stack, then a projection to the code width."""

    def __init__(
        self,
        in_channels: int,
        strides: tuple[int, ...],
        tier: config.TierConfig,
        code_width: int,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        dilations = [tier.dilation_growth**r for r in range(tier.depth)]
        channels, kinds = [in_channels] + [tier.width] * (len(strides) - 1), {"dtype": dtype, "rngs": rngs}
        self.downsampling = nnx.List(
            [resnet.Downsampling(c, tier.width, stride, **kinds) for c, stride in zip(channels, strides, strict=True)]
        )
        self.stacks = nnx.List([resnet.ResidualStack(tier.width, dilations, **kinds) for _ in channels])
        self.project = resnet.convolution(tier.width, code_width, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T * product of the strides, C] -> [B, T, code_width]."""
        for downsampling, stack in zip(self.downsampling, self.stacks, strict=True):
            x = stack(downsampling(x))
        return self.project(x)


class Encoder(nnx.Module):
    """Blocks of strided convolutions, one after the other, from the waveform (Dhariwal et al. 2020, appendix B.1)."""

    def __init__(self, tier: config.TierConfig, code_width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        inputs = [1] + [code_width] * (len(tier.downsampling) - 1)
        self.blocks = nnx.List(
            [
                EncoderBlock(in_channels, strides, tier, code_width, dtype=dtype, rngs=rngs)
                for in_channels, strides in zip(inputs, tier.block_strides, strict=True)
            ]
        )

    def __call__(self, audio: jax.Array) -> jax.Array:
        """[B, S] -> [B, S / hop_length, code_width] float32; S must be a multiple of the hop length."""
        x = audio[..., None]
        for block in self.blocks:
            x = block(x)
        return x.astype(jnp.float32)


class SemitoneEncoder(nnx.Module):
    """How loud each semitone is (`semitone_levels`), then a residual stack: nothing of phase comes in."""

    def __init__(self, tier: config.TierConfig, code_width: int, sample_rate: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.hop_length, self.sample_rate = tier.hop_length, sample_rate
        dilations, kinds = [tier.dilation_growth**r for r in range(tier.depth)], {"dtype": dtype, "rngs": rngs}
        num_semitones = _semitone_filters(tier.hop_length, sample_rate).shape[-1] // 2
        self.read = resnet.convolution(num_semitones, tier.width, 3, **kinds)
        self.stack = resnet.ResidualStack(tier.width, dilations, **kinds)
        self.project = resnet.convolution(tier.width, code_width, 3, **kinds)

    def __call__(self, audio: jax.Array) -> jax.Array:
        """[B, S] -> [B, S / hop_length, code_width] float32; S must be a multiple of the hop length."""
        levels = semitone_levels(audio, self.hop_length, self.sample_rate)
        return self.project(self.stack(self.read(levels))).astype(jnp.float32)


def semitone_levels(audio: jax.Array, hop_length: int, sample_rate: int) -> jax.Array:
    """A constant-Q spectrogram (Brown 1991) of logarithmic levels, about 0 in silence and 1 where music is.

    Args:
      audio: [B, S], S a multiple of the hop length.
      hop_length: samples of a frame. The windows lie around its middle; where `CYCLES` of a low pitch are longer than
        WINDOW_FRAMES frames, its window is as long as these, and where they are shorter than two frames, these two.
      sample_rate: Hz.

    Returns:
      float32 [B, S / hop_length, P], of the semitones from LOWEST_PITCH up to Nyquist.
    """
    filters = _semitone_filters(hop_length, sample_rate)
    side = (len(filters) - hop_length) // 2
    parts = jax.lax.conv_general_dilated(
        audio[..., None], filters, (hop_length,), [(side, side)], dimension_numbers=("NWC", "WIO", "NWC")
    )
    cosine, sine = jnp.split(parts, 2, axis=-1)
    return jnp.log1p(1000 * jnp.sqrt(cosine**2 + sine**2 + 1e-12)) / 4


@functools.lru_cache(maxsize=8)
def _semitone_filters(hop_length: int, sample_rate: int) -> np.ndarray:
    """Windowed cosines, then sines, of unit gain, float32 [WINDOW_FRAMES * hop_length, 1, 2 P]."""
    num_semitones = int(12 * np.log2(sample_rate / 2 / _hz(LOWEST_PITCH)))
    hz = _hz(LOWEST_PITCH + np.arange(num_semitones))
    longest = WINDOW_FRAMES * hop_length
    lengths = np.clip(CYCLES * sample_rate / hz, 2 * hop_length, longest)
    times = np.arange(longest)[:, None] - (longest - 1) / 2
    windows = np.where(np.abs(times) < lengths / 2, np.cos(np.pi * times / lengths) ** 2, 0.0)
    waves = windows / windows.sum(axis=0) * np.exp(2j * np.pi * hz / sample_rate * times)
    return np.concatenate([waves.real, waves.imag], axis=1).astype(np.float32)[:, None]


def _hz(pitch: np.ndarray | int) -> np.ndarray | float:
    return 440 * 2.0 ** ((pitch - 69) / 12)


def receptive_field(tier: config.TierConfig) -> tuple[int, int]:
    """How far an encoder looks: (before, after), exact numbers of samples beside the `hop_length` samples of a frame.

    A change of the waveform within that reach can change the frame's latent vector, one beyond it cannot. The decoder
    is the encoder's mirror image (but for its last convolution): as far before and after a frame's samples reach those
    of the decoder that the frame's codes have a part in.

    A strided convolution sees 2 * stride samples of what it reads for each one that it makes: `resnet.early` of them
    lie before the stride that is its own, the rest of another stride behind it. The residual stack behind it reaches
    the sum of its dilations to both sides, and the 3-tap projection at the end of a block one frame; each counted in
    frames of the resolution there.
    """
    dilations = sum(tier.dilation_growth**r for r in range(tier.depth))
    if tier.features == "semitones":
        reach = tier.hop_length * (2 + dilations) + (WINDOW_FRAMES - 1) * tier.hop_length // 2
        return reach, reach
    before = behind = 0
    frame = 1  # samples
    for strides in tier.block_strides:
        for stride in strides:
            before += frame * resnet.early(stride)
            behind += frame * (stride - resnet.early(stride))
            frame *= stride
            before, behind = before + frame * dilations, behind + frame * dilations
        before, behind = before + frame, behind + frame
    return before, behind
