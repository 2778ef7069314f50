"""What encoder and decoder of the Descript Audio Codec are made of (Kumar et al. 2023, section 3.1)."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax.nn import parameters, resnet

DILATIONS = (1, 3, 9)  # of the residual units at a resolution, one after the other
TAPS = 7  # of the dilated convolutions, and of the first and the last one
_EPSILON = 1e-9  # keeps a frequency of zero from dividing by it


class Snake(nnx.Module):
    """x + sin(alpha x)^2 / alpha, an activation with a period (Ziyin et al. 2020): `alpha` float32 [C], learned."""

    def __init__(self, width: int, *, dtype: jnp.dtype):
        self.alpha = parameters.parameter(jnp.ones((width,), jnp.float32), parameters.VECTOR)
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, C] -> [B, T, C]."""
        alpha = self.alpha[...]
        scale = jnp.asarray(1 / (alpha + _EPSILON), self.dtype)
        return x + scale * jnp.sin(jnp.asarray(alpha, self.dtype) * x) ** 2


class ResidualUnit(nnx.Module):
    """x + conv1(snake(conv7(snake(x)))): a dilated convolution of seven taps, then one of a single tap."""

    def __init__(self, width: int, dilation: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        kinds = {"dtype": dtype, "rngs": rngs}
        self.before_dilated, self.before_project = Snake(width, dtype=dtype), Snake(width, dtype=dtype)
        self.dilated = resnet.convolution(width, width, TAPS, dilation=dilation, **kinds)
        self.project = resnet.convolution(width, width, 1, **kinds)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, width] -> [B, T, width]."""
        return x + self.project(self.before_project(self.dilated(self.before_dilated(x))))


def units(width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.List:
    """The residual units at a resolution."""
    return nnx.List([ResidualUnit(width, dilation, dtype=dtype, rngs=rngs) for dilation in DILATIONS])
