"""Dilated residual blocks and stride-2 convolutions over time, on [B, T, C]."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax.nn import parameters
from musicgen_jax.nn.convolution import convolve


class Convolution(nnx.Conv):
    """Convolution over time that keeps the length: zero padding, non-causal, an odd number of taps.

    Attributes:
      as_products: whether it may run as matrix products where they are faster; see `convolve`.
    """

    as_products: bool

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C_in] -> [B, T, C_out]."""
        x, kernel, bias = _in_dtype(self.dtype, x, self.kernel, self.bias)
        left = self.kernel_dilation * (len(kernel) // 2)
        return convolve(x, kernel, self.kernel_dilation, left, self.as_products) + bias


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    dilation: int = 1,
    as_products: bool = True,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
) -> Convolution:
    """A `Convolution` of `kernel_size` taps, which must be odd."""
    layer = Convolution(in_channels, out_channels, (kernel_size,), kernel_dilation=dilation, dtype=dtype, rngs=rngs)
    layer.as_products = as_products
    return parameters.layer(layer)


class ResidualBlock(nnx.Module):
    """x + scale * conv1(relu(conv3(relu(x)))), the 3-tap convolution dilated."""

    def __init__(
        self,
        width: int,
        dilation: int,
        scale: float = 1.0,
        *,
        as_products: bool = True,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        kinds = {"as_products": as_products, "dtype": dtype, "rngs": rngs}
        self.scale = scale
        self.dilated = convolution(width, width, 3, dilation=dilation, **kinds)
        self.project = convolution(width, width, 1, **kinds)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C] -> [B, T, C]."""
        return x + self.scale * self.project(nnx.relu(self.dilated(nnx.relu(x))))


class ResidualStack(nnx.Module):
    """Residual blocks one after the other, with the dilations given, each residual times `scale`.

    `as_products` is that of their convolutions.
    """

    def __init__(
        self,
        width: int,
        dilations: list[int],
        scale: float = 1.0,
        *,
        as_products: bool = True,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        kinds = {"as_products": as_products, "dtype": dtype, "rngs": rngs}
        self.blocks = nnx.List([ResidualBlock(width, dilation, scale, **kinds) for dilation in dilations])

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C] -> [B, T, C]."""
        for block in self.blocks:
            x = block(x)
        return x


class Downsampling(nnx.Module):
    """Stride-2 convolution of 4 taps: halves the length, rounding down.

    Written as a convolution of 2 taps over pairs of frames: no stride, so no gradient with inserted zeros.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        conv = nnx.Conv(in_channels, out_channels, (4,), strides=2, padding=[(1, 1)], dtype=dtype, rngs=rngs)
        self.conv = parameters.layer(conv)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, 2T, C_in] -> [B, T, C_out]."""
        x, kernel, bias = _in_dtype(self.conv.dtype, x, self.conv.kernel, self.conv.bias)
        batch, length, channels = x.shape
        padded = jnp.pad(x, ((0, 0), (1, 1 - length % 2), (0, 0)))
        pairs = padded.reshape(batch, length // 2 + 1, 2 * channels)
        return convolve(pairs, kernel.reshape(2, 2 * channels, -1))[:, :-1] + bias


class Upsampling(nnx.Module):
    """Transposed convolution of 4 taps and stride 2: doubles the length.

    Written as its two phases, each a 2-tap convolution: output 2t sees inputs t-1 and t, output 2t+1 sees t and t+1.
    It is the same sum as `jax.lax.conv_transpose` (tested) without the multiplications by inserted zeros; on CPUs it
    runs about five times faster.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        init = nnx.initializers.lecun_normal()
        kernel = init(rngs.params(), (4, in_channels, out_channels), jnp.float32)
        self.kernel = parameters.parameter(kernel, parameters.MATRIX, inputs=(-3, -2), outputs=(-1,))
        self.bias = parameters.parameter(jnp.zeros((out_channels,), jnp.float32), parameters.BIAS)
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C_in] -> [B, 2T, C_out]."""
        x, kernel, bias = _in_dtype(self.dtype, x, self.kernel, self.bias)
        even = convolve(x, kernel[::2], left=1)
        odd = convolve(x, kernel[1::2], left=0)
        batch, length = x.shape[:2]
        return jnp.stack([even, odd], axis=2).reshape(batch, 2 * length, -1) + bias


def _in_dtype(dtype: jnp.dtype, x: jax.Array, *params: nnx.Param) -> list[jax.Array]:
    return [jnp.asarray(value, dtype) for value in (x, *(param[...] for param in params))]
