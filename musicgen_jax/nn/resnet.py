"""Convolutions over time that several models share: residual blocks, and strided ones that change the rate.

All take and give activations [B, T, C]: batch, frames, channels. `dtype` is that in which they compute; parameters are
float32.
"""

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
    """A `Convolution` of `kernel_size` taps, an odd number, `dilation` frames apart, its parameters declared."""
    layer = Convolution(in_channels, out_channels, (kernel_size,), kernel_dilation=dilation, dtype=dtype, rngs=rngs)
    layer.as_products = as_products
    return parameters.layer(layer)


class ResidualBlock(nnx.Module):
    """x + scale * conv1(relu(conv3(relu(x)))): a dilated convolution of three taps, then one of a single tap."""

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
        """[B, T, width] -> [B, T, width]."""
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
        """[B, T, width] -> [B, T, width]."""
        for block in self.blocks:
            x = block(x)
        return x


def early(stride: int) -> int:
    """How many samples a strided convolution sees in front of the `stride` samples that one of its outputs stands for.

    It has 2 * stride taps: `stride` of them see those samples, this many lie before, the rest behind. Half and half; of
    an odd number one more before, as EnCodec pads (Defossez et al. 2022).
    """
    return stride - stride // 2


class Downsampling(nnx.Module):
    """Convolution of 2 * stride taps: divides the length by the stride, rounding down.

    Written as a convolution of 2 taps over frames of `stride` samples: no stride, so no gradient with inserted zeros.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        padding = [(early(stride), stride - early(stride))]
        kinds = {"strides": stride, "padding": padding, "dtype": dtype, "rngs": rngs}
        self.conv = parameters.layer(nnx.Conv(in_channels, out_channels, (2 * stride,), **kinds))
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, stride * T, C_in] -> [B, T, C_out]."""
        x, kernel, bias = _in_dtype(self.conv.dtype, x, self.conv.kernel, self.conv.bias)
        batch, length, channels = x.shape
        stride, num_frames = self.stride, length // self.stride + 1
        before = early(stride)
        x = x[:, : num_frames * stride - before]
        padded = jnp.pad(x, ((0, 0), (before, num_frames * stride - before - x.shape[1]), (0, 0)))
        frames = padded.reshape(batch, num_frames, stride * channels)
        return convolve(frames, kernel.reshape(2, stride * channels, -1))[:, :-1] + bias


class Upsampling(nnx.Module):
    """Transposed convolution of 2 * stride taps: multiplies the length by the stride.

    Written as its phases, each a 2-tap convolution: the first of the outputs of input t see inputs t-1 and t, the
    others t and t+1. It is the same sum as `jax.lax.conv_transpose` (tested) without the multiplications by inserted
    zeros; on CPUs it runs about five times faster.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        init = nnx.initializers.lecun_normal()
        kernel = init(rngs.params(), (2 * stride, in_channels, out_channels), jnp.float32)
        self.kernel = parameters.parameter(kernel, parameters.MATRIX, inputs=(-3, -2), outputs=(-1,))
        self.bias = parameters.parameter(jnp.zeros((out_channels,), jnp.float32), parameters.BIAS)
        self.stride, self.dtype = stride, dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C_in] -> [B, stride * T, C_out]."""
        x, kernel, bias = _in_dtype(self.dtype, x, self.kernel, self.bias)
        stride, (batch, length, channels) = self.stride, x.shape
        # [2, stride, C_in, C_out]: the two taps of every phase. Either half of the phases is in the opposite order.
        taps, first = kernel.reshape(2, stride, channels, -1), stride - early(stride)
        phases = []
        for part, left in ((taps[:, :first], 1), (taps[:, first:], 0)):
            columns = part[:, ::-1].swapaxes(1, 2).reshape(2, channels, -1)
            phases.append(convolve(x, columns, left=left).reshape(batch, length, part.shape[1], -1))
        return jnp.concatenate(phases, axis=2).reshape(batch, stride * length, -1) + bias


def _in_dtype(dtype: jnp.dtype, x: jax.Array, *params: nnx.Param) -> list[jax.Array]:
    return [jnp.asarray(value, dtype) for value in (x, *(param[...] for param in params))]
