"""The convolutional decoder of one stream: quantized latent vectors, one a frame, -> waveform."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import resnet


class DecoderBlock(nnx.Module):
    """A projection from the code width, then for each of `strides` a residual stack and a transposed convolution."""

    def __init__(
        self, strides: tuple[int, ...], tier: config.TierConfig, code_width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        # The largest dilation comes first: the mirror image of the encoder.
        dilations = [tier.dilation_growth**r for r in reversed(range(tier.depth))]
        outputs, kinds = [tier.width] * (len(strides) - 1) + [code_width], {"dtype": dtype, "rngs": rngs}
        self.project = resnet.convolution(code_width, tier.width, 3, dtype=dtype, rngs=rngs)
        self.stacks = nnx.List([resnet.ResidualStack(tier.width, dilations, **kinds) for _ in outputs])
        self.upsampling = nnx.List(
            [resnet.Upsampling(tier.width, c, stride, **kinds) for c, stride in zip(outputs, strides, strict=True)]
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, code_width] -> [B, T * product of the strides, code_width]."""
        x = self.project(x)
        for stack, upsampling in zip(self.stacks, self.upsampling, strict=True):
            x = upsampling(stack(x))
        return x


class Decoder(nnx.Module):
    """The encoder's blocks mirrored and in reverse order, then a 3-tap convolution to the one channel of the audio."""

    def __init__(self, tier: config.TierConfig, code_width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.blocks = nnx.List(
            [
                DecoderBlock(strides[::-1], tier, code_width, dtype=dtype, rngs=rngs)
                for strides in reversed(tier.block_strides)
            ]
        )
        self.out = resnet.convolution(code_width, 1, 3, dtype=dtype, rngs=rngs)

    def __call__(self, latents: jax.Array) -> jax.Array:
        """Quantized latents [B, T, code_width] float32 -> waveform [B, T * hop_length] float32."""
        x = latents
        for block in self.blocks:
            x = block(x)
        return self.out(x)[..., 0].astype(jnp.float32)
