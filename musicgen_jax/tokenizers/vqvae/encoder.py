"""Waveform -> latent frames of one tier."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import resnet


class EncoderBlock(nnx.Module):
    """`num_steps` times (stride-2 convolution, residual stack), then a projection to the code width."""

    def __init__(
        self,
        in_channels: int,
        num_steps: int,
        tier: config.TierConfig,
        code_width: int,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        dilations = [tier.dilation_growth**r for r in range(tier.depth)]
        channels = [in_channels] + [tier.width] * (num_steps - 1)
        self.downsampling = nnx.List([resnet.Downsampling(c, tier.width, dtype=dtype, rngs=rngs) for c in channels])
        self.stacks = nnx.List([resnet.ResidualStack(tier.width, dilations, dtype=dtype, rngs=rngs) for _ in channels])
        self.project = resnet.convolution(tier.width, code_width, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T * 2**num_steps, C] -> [B, T, code_width]."""
        for downsampling, stack in zip(self.downsampling, self.stacks, strict=True):
            x = stack(downsampling(x))
        return self.project(x)


class Encoder(nnx.Module):
    """The blocks of one tier, from the waveform (Dhariwal et al. 2020, appendix B.1)."""

    def __init__(self, tier: config.TierConfig, code_width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        inputs = [1] + [code_width] * (len(tier.downsampling) - 1)
        self.blocks = nnx.List(
            [
                EncoderBlock(in_channels, num_steps, tier, code_width, dtype=dtype, rngs=rngs)
                for in_channels, num_steps in zip(inputs, tier.downsampling, strict=True)
            ]
        )

    def __call__(self, audio: jax.Array) -> jax.Array:
        """[B, S] -> [B, S / hop_length, code_width] float32; S must be a multiple of the hop length."""
        x = audio[..., None]
        for block in self.blocks:
            x = block(x)
        return x.astype(jnp.float32)


def receptive_field(tier: config.TierConfig) -> int:
    """Samples on each side of a code's own hop that can change it, exactly; the decoder without its last layer too.

    Frames of 2**n samples come from a convolution of 4 taps and stride 2, which looks at one frame of 2**(n - 1)
    samples on either side of its own two; then a residual stack reaches the sum of its dilations. The 3-tap projection
    at the end of a block adds a frame of the block's resolution. The decoder is the mirror image.
    """
    dilations = sum(tier.dilation_growth**r for r in range(tier.depth))
    stacks = sum(2**n * dilations + 2 ** (n - 1) for n in range(1, sum(tier.downsampling) + 1))
    projections = sum(2**steps for steps in itertools.accumulate(tier.downsampling))
    return stacks + projections
