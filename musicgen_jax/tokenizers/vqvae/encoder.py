"""The encoder of one stream: waveform -> latent vectors, one a frame, which a quantizer turns into codes."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import resnet


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
