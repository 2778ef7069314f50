"""Loss balancer (Defossez et al. 2022, EnCodec, section 3.4): weights are shares of the gradient, not of the loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

_MIN_NORM = 1e-12  # below it a gradient counts as zero


class NormAverage(nnx.Variable):
    """A moving average of gradient norms: a buffer that no gradient moves, in checkpoints beside the codebooks."""


class LossBalancer(nnx.Module):
    """Rescales the gradient g_i of each term with respect to the reconstruction y to its share of their sum:

        g = R * sum_i (w_i / sum_j w_j) * g_i / <|g_i|>,

    <|g_i|> being the moving average of the norm over the global batch, corrected for its start at zero. Where EnCodec
    has R = 1, R here is sum_j w_j <|g_j|> over the terms that compare waveforms, what their gradients would have been
    worth without a balancer: so the weights of the commitment and codebook terms, which no balancer touches, keep
    their meaning. With one term alone it changes nothing.

    Attributes:
      norms, mass: float32 [number of names]; the average is norms / mass. A term that is off has no mass.
    """

    def __init__(self, names: tuple[str, ...], decay: float):
        self.names, self.decay = names, decay
        self.norms = NormAverage(jnp.zeros(len(names), jnp.float32))
        self.mass = NormAverage(jnp.zeros(len(names), jnp.float32))

    def balance(
        self,
        terms: Callable[[jax.Array], dict[str, jax.Array]],
        reconstruction: jax.Array,
        weights: dict[str, float],
        comparing: tuple[str, ...],
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """A scalar whose gradient is the balanced one, and the terms. Updates the moving averages in place.

        Args:
          terms: reconstruction -> unweighted scalars by name, all in `names`; no gradient reaches what it closes over.
          reconstruction: [B, S] float32.
          weights: of every name that `terms` returns.
          comparing: the names that R sums over.

        Returns:
          The weighted sum of the terms, as it is logged, with the gradient above; the terms.
        """
        values, pull_back = jax.vjp(terms, jax.lax.stop_gradient(reconstruction))
        gradients = {}
        for name in values:
            only = {other: jnp.float32(other == name) for other in values}
            (gradients[name],) = pull_back(only)
        averages = self._updated({name: jnp.sqrt(jnp.sum(g**2)) for name, g in gradients.items()})
        reference = sum(weights[name] * averages[name] for name in values if name in comparing)
        shares = {name: weights[name] / sum(weights[other] for other in values) for name in values}
        balanced = sum(
            reference * shares[name] / jnp.maximum(averages[name], _MIN_NORM) * gradient
            for name, gradient in gradients.items()
        )
        value = sum(weights[name] * values[name] for name in values)
        surrogate = jnp.sum(reconstruction * jax.lax.stop_gradient(balanced))
        return jax.lax.stop_gradient(value) + gradient_only(surrogate), values

    def _updated(self, norms: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Takes the norms of one step, by term, into the moving averages; returns these averages, by term."""
        present = jnp.array([name in norms for name in self.names])
        new = jnp.stack([jax.lax.stop_gradient(norms.get(name, jnp.float32(0))) for name in self.names])
        decay = self.decay
        self.norms[...] = jnp.where(present, decay * self.norms[...] + (1 - decay) * new, self.norms[...])
        self.mass[...] = jnp.where(present, decay * self.mass[...] + (1 - decay), self.mass[...])
        averages = self.norms[...] / jnp.where(self.mass[...] > 0, self.mass[...], 1)
        return {name: averages[self.names.index(name)] for name in norms}


def gradient_only(x: jax.Array) -> jax.Array:
    """A scalar that adds nothing to a loss but the gradient of `x`: its value is 0."""
    return x - jax.lax.stop_gradient(x)
