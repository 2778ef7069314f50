"""The Descript Audio Codec: encoder, factorised residual quantizer and decoder (Kumar et al. 2023).

The quantizer is the residual one whose stages compare directions in few dimensions (`normalized_quantizer`). Weight
normalization is a change of parametrization and is left out; published weights are folded where they are read.
"""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import resnet
from musicgen_jax.quantizers import quantizer
from musicgen_jax.tokenizers.codec import network
from musicgen_jax.tokenizers.dac import layers


class EncoderBlock(nnx.Module):
    """Residual units, then a strided convolution that doubles the channels."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.units = layers.units(inputs, dtype=dtype, rngs=rngs)
        self.snake = layers.Snake(inputs, dtype=dtype)
        self.downsampling = resnet.Downsampling(inputs, outputs, stride, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, stride * T, inputs] -> [B, T, outputs]."""
        for unit in self.units:
            x = unit(x)
        return self.downsampling(self.snake(x))


class Encoder(nnx.Module):
    """A convolution from the waveform, a block for each stride, and a projection to the latents."""

    def __init__(self, dac_config: config.DACConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        widths, kinds = dac_config.encoder_widths, {"dtype": dtype, "rngs": rngs}
        self.first = resnet.convolution(1, widths[0], layers.TAPS, **kinds)
        self.blocks = nnx.List(
            [
                EncoderBlock(*pair, stride, **kinds)
                for pair, stride in zip(itertools.pairwise(widths), dac_config.strides, strict=True)
            ]
        )
        self.snake = layers.Snake(widths[-1], dtype=dtype)
        self.project = resnet.convolution(widths[-1], dac_config.quantizer.code_width, 3, **kinds)

    def __call__(self, audio: jax.Array) -> jax.Array:
        """[B, S] float32 -> latents [B, S / hop_length, code_width] float32; S must be a multiple of the hop length."""
        x = self.first(audio[..., None])
        for block in self.blocks:
            x = block(x)
        return self.project(self.snake(x)).astype(jnp.float32)


class DecoderBlock(nnx.Module):
    """A transposed convolution that halves the channels, then residual units."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.snake = layers.Snake(inputs, dtype=dtype)
        self.upsampling = resnet.Upsampling(inputs, outputs, stride, dtype=dtype, rngs=rngs)
        self.units = layers.units(outputs, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, inputs] -> [B, stride * T, outputs]."""
        x = self.upsampling(self.snake(x))
        for unit in self.units:
            x = unit(x)
        return x


class Decoder(nnx.Module):
    """A convolution from the latents, a block for each stride, and a convolution to the waveform, within -1 and 1."""

    def __init__(self, dac_config: config.DACConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        widths, kinds = dac_config.decoder_widths, {"dtype": dtype, "rngs": rngs}
        self.first = resnet.convolution(dac_config.quantizer.code_width, widths[0], layers.TAPS, **kinds)
        self.blocks = nnx.List(
            [
                DecoderBlock(*pair, stride, **kinds)
                for pair, stride in zip(itertools.pairwise(widths), reversed(dac_config.strides), strict=True)
            ]
        )
        self.snake = layers.Snake(widths[-1], dtype=dtype)
        self.out = resnet.convolution(widths[-1], 1, layers.TAPS, **kinds)

    def __call__(self, latents: jax.Array) -> jax.Array:
        """Quantized latents [B, T, code_width] float32 -> waveform [B, T * hop_length] float32."""
        x = self.first(latents)
        for block in self.blocks:
            x = block(x)
        return jnp.tanh(self.out(self.snake(x))[..., 0].astype(jnp.float32))


class DAC(network.Network):
    """Encoder, quantizer and decoder of the one stream."""

    def __init__(self, dac_config: config.DACConfig, stream: str, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        del stream  # there is one
        self.encoder = Encoder(dac_config, dtype=dtype, rngs=rngs)
        self.quantizer = quantizer.make(dac_config.quantizer, rngs=rngs)
        self.decoder = Decoder(dac_config, dtype=dtype, rngs=rngs)


def receptive_field(dac_config: config.DACConfig) -> tuple[int, int]:
    """How far the encoder looks: (before, after), exact numbers of samples beside the `hop_length` samples of a frame.

    Each residual unit reaches three times its dilation to both sides, a strided convolution `resnet.early` of its
    stride before, the rest of a stride behind; all counted in steps of the resolution there.
    """
    before = behind = layers.TAPS // 2
    frame = 1  # samples
    for stride in dac_config.strides:
        units = layers.TAPS // 2 * sum(layers.DILATIONS)
        before += frame * (units + resnet.early(stride))
        behind += frame * (units + stride - resnet.early(stride))
        frame *= stride
    return before + frame, behind + frame  # the projection has three taps
