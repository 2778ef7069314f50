"""Convolution over time, on CPUs as matrix products where those are faster than XLA's convolutions.

There XLA's products reach the machine's peak, its convolutions half to two thirds of it, and the gradient of a
convolution first copies the activations into other layouts. On GPUs and TPUs its convolutions are the right ones.
"""

import functools

import jax
import jax.numpy as jnp

from musicgen_jax.sharding import meshes

_NARROW = 8  # channels; below, memory is the limit, and a convolution reads its input once where products read it often


def convolve(x: jax.Array, kernel: jax.Array, dilation: int = 1, left: int = 0, as_products: bool = True) -> jax.Array:
    """y[t] = sum over taps k of x[t - left + k * dilation] @ kernel[k], zeros outside: the length stays.

    Args:
      x: [B, T, C_in].
      kernel: [taps, C_in, C_out], of x's dtype.
      dilation: distance of the taps.
      left: how many steps the first tap lies before its output, 0 to (taps - 1) * dilation.
      as_products: whether matrix products may compute it on a CPU. Their rounding depends on T, that of XLA's
        convolution does not.

    Returns:
      [B, T, C_out].
    """
    if not as_products or meshes.platform() != "cpu" or min(kernel.shape[1:]) < _NARROW:
        return _convolution(x, kernel, dilation, left)
    return _products(x, kernel, dilation, left)


def _convolution(x: jax.Array, kernel: jax.Array, dilation: int, left: int) -> jax.Array:
    padding = (left, (len(kernel) - 1) * dilation - left)
    return jax.lax.conv_general_dilated(
        x, kernel, (1,), [padding], rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _products(x: jax.Array, kernel: jax.Array, dilation: int, left: int) -> jax.Array:
    # The products are shifted, not the input: the shifts are then part of the one pass that sums them.
    return sum(_delayed(x @ tap, left - k * dilation) for k, tap in enumerate(kernel))


def _forward(x: jax.Array, kernel: jax.Array, dilation: int, left: int) -> tuple[jax.Array, tuple]:
    # In training, products would all be kept for the backward pass, which would sum them again for each of its uses.
    y = x @ kernel[0] if len(kernel) == 1 else _convolution(x, kernel, dilation, left)
    return y, (x, kernel)


def _backward(dilation: int, left: int, saved: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple:
    x, kernel = saved
    dx = _products(dy, kernel[::-1].swapaxes(1, 2), dilation, (len(kernel) - 1) * dilation - left)
    moved = [_delayed(dy, k * dilation - left) for k in range(len(kernel))]
    return dx, jnp.stack([jnp.einsum("btc,btd->cd", x, tap_dy) for tap_dy in moved])


_products.defvjp(_forward, _backward)


def _delayed(x: jax.Array, steps: int) -> jax.Array:
    """y[:, t] = x[:, t - steps] for x [B, T, C] and any whole number of steps; zeros where that lies outside."""
    length = x.shape[1]
    steps = max(-length, min(steps, length))
    kept = x[:, max(-steps, 0) : length - max(steps, 0)]
    return jnp.pad(kept, ((0, 0), (max(steps, 0), max(-steps, 0)), (0, 0)))
