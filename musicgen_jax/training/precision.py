"""All there is to mixed precision. Parameters, optimizer state, losses and codebooks stay float32; activations and
matrix products run in `training.compute_dtype`; float16 needs dynamic loss scaling (Micikevicius et al. 2018).
"""

import dataclasses

import jax
import jax.numpy as jnp

INITIAL_SCALE = 2.0**16
MAX_SCALE = 2.0**24
GROWTH_INTERVAL = 1000  # finite steps in a row before the scale doubles


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class LossScale:
    """Factor on the loss that keeps small float16 gradients above zero. scale: float32; good_steps: int32."""

    scale: jax.Array
    good_steps: jax.Array

    def update(self, finite: jax.Array) -> "LossScale":
        """Halves the scale (not below 1) after an overflow, doubles it after `GROWTH_INTERVAL` finite steps."""
        good_steps = jnp.where(finite, self.good_steps + 1, 0)
        grow = good_steps >= GROWTH_INTERVAL
        grown = jnp.where(grow, jnp.minimum(self.scale * 2, MAX_SCALE), self.scale)
        scale = jnp.where(finite, grown, jnp.maximum(self.scale / 2, 1.0))
        return LossScale(scale=scale, good_steps=jnp.where(grow, 0, good_steps))


def initial_loss_scale(compute_dtype: str) -> LossScale:
    """2**16 for float16; 1 otherwise, where scaling is the identity."""
    scale = INITIAL_SCALE if compute_dtype == "float16" else 1.0
    return LossScale(scale=jnp.float32(scale), good_steps=jnp.int32(0))


def update_loss_scale(loss_scale: LossScale, finite: jax.Array, compute_dtype: str) -> LossScale:
    """The next loss scale; constant unless `compute_dtype` is float16."""
    return loss_scale.update(finite) if compute_dtype == "float16" else loss_scale


def loss_factor(loss_scale: LossScale, compute_dtype: str) -> jax.Array | float:
    """What multiplies the loss and divides its gradients: the scale for float16, else the number 1.

    Were it an array, XLA on CPUs would divide in a pass of its own over all gradients.
    """
    return loss_scale.scale if compute_dtype == "float16" else 1.0


def dtype(compute_dtype: str) -> jnp.dtype:
    """jnp dtype of a config's `compute_dtype`."""
    return jnp.dtype(compute_dtype)
