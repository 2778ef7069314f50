"""Dilated residual blocks and stride-2 convolutions over time, on [B, T, C]."""

import jax
import jax.numpy as jnp
from flax import nnx


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1, dtype: jnp.dtype, rngs: nnx.Rngs
) -> nnx.Conv:
    """Convolution over time that keeps the length: zero padding, non-causal. kernel_size must be odd."""
    pad = dilation * (kernel_size // 2)
    return nnx.Conv(
        in_channels,
        out_channels,
        (kernel_size,),
        padding=[(pad, pad)],
        kernel_dilation=dilation,
        dtype=dtype,
        rngs=rngs,
    )


class ResidualBlock(nnx.Module):
    """x + conv1(relu(conv3(relu(x)))), the 3-tap convolution dilated."""

    def __init__(self, width: int, dilation: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.dilated = convolution(width, width, 3, dilation=dilation, dtype=dtype, rngs=rngs)
        self.project = convolution(width, width, 1, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C] -> [B, T, C]."""
        return x + self.project(nnx.relu(self.dilated(nnx.relu(x))))


class ResidualStack(nnx.Module):
    """Residual blocks one after the other, with the dilations given."""

    def __init__(self, width: int, dilations: list[int], *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.blocks = nnx.List([ResidualBlock(width, dilation, dtype=dtype, rngs=rngs) for dilation in dilations])

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C] -> [B, T, C]."""
        for block in self.blocks:
            x = block(x)
        return x


class Downsampling(nnx.Module):
    """Stride-2 convolution of 4 taps: halves an even length."""

    def __init__(self, in_channels: int, out_channels: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.conv = nnx.Conv(in_channels, out_channels, (4,), strides=2, padding=[(1, 1)], dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, 2T, C_in] -> [B, T, C_out]."""
        return self.conv(x)


class Upsampling(nnx.Module):
    """Transposed convolution of 4 taps and stride 2: doubles the length.

    Written as its two phases, each a 2-tap convolution: output 2t sees inputs t-1 and t, output 2t+1 sees t and t+1.
    It is the same sum as `jax.lax.conv_transpose` (tested) without the multiplications by inserted zeros; on CPUs it
    runs about five times faster.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        init = nnx.initializers.lecun_normal()
        self.kernel = nnx.Param(init(rngs.params(), (4, in_channels, out_channels), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((out_channels,), jnp.float32))
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C_in] -> [B, 2T, C_out]."""
        x, kernel, bias = (jnp.asarray(v, self.dtype) for v in (x, self.kernel[...], self.bias[...]))
        even = _two_taps(x, kernel[0], kernel[2], padding=(1, 0))
        odd = _two_taps(x, kernel[1], kernel[3], padding=(0, 1))
        batch, length = x.shape[:2]
        return jnp.stack([even, odd], axis=2).reshape(batch, 2 * length, -1) + bias


def _two_taps(x: jax.Array, first: jax.Array, second: jax.Array, padding: tuple[int, int]) -> jax.Array:
    kernel = jnp.stack([first, second])
    return jax.lax.conv_general_dilated(x, kernel, (1,), [padding], dimension_numbers=("NWC", "WIO", "NWC"))
