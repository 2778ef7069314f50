"""Logits -> one sampled code: temperature, top-k, nucleus."""

import dataclasses

import jax
import jax.numpy as jnp

from musicgen_jax import config


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """How codes are drawn. Both filters apply where both are on; the distribution after them is renormalised.

    Attributes:
      temperature: logits are divided by it; must be positive.
      top_p: nucleus (Holtzman et al. 2020): the fewest codes whose probabilities reach this sum; 1 turns it off.
      top_k: the k most probable codes; 0 turns it off.
    """

    temperature: float = 1.0
    top_p: float = 0.9
    top_k: int = 0

    def validate(self) -> None:
        config.require(self.temperature > 0, f"--temperature={self.temperature}: must be greater than 0")
        config.require(0 < self.top_p <= 1, f"--top_p={self.top_p}: must be in (0, 1]; 1 keeps all codes")
        config.require(self.top_k >= 0, f"--top_k={self.top_k}: must be 0 (off) or more")


def filtered(logits: jax.Array, temperature: jax.Array, top_p: jax.Array, top_k: jax.Array) -> jax.Array:
    """Logits [B, K] float32 -> the same with every code that may not be drawn at -inf.

    The settings may be traced scalars: changing them compiles nothing anew. The most probable code always stays. Codes
    that tie with the last one kept are kept too.
    """
    num_codes = logits.shape[-1]
    logits = logits / temperature
    descending = -jnp.sort(-logits, axis=-1)
    probabilities = jax.nn.softmax(descending, axis=-1)
    # A code belongs to the nucleus if those before it have not reached top_p yet.
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    in_nucleus = (before < top_p) | (jnp.arange(num_codes) == 0) | (top_p >= 1)
    in_top_k = jnp.arange(num_codes) < jnp.where(top_k > 0, top_k, num_codes)
    threshold = jnp.min(jnp.where(in_nucleus & in_top_k, descending, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= threshold, logits, -jnp.inf)


def sample(keys: jax.Array, logits: jax.Array, temperature: jax.Array, top_p: jax.Array, top_k: jax.Array) -> jax.Array:
    """Draws a code a row: keys [B], logits [B, K] -> int32 [B]. Each row depends on its own key alone."""
    kept = filtered(logits, temperature, top_p, top_k)
    return jax.vmap(jax.random.categorical)(keys, kept).astype(jnp.int32)
