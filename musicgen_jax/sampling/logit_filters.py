"""Logits -> one sampled code: temperature, top-k, nucleus."""

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Settings:
    """How the codes of B windows are drawn, as arrays: other values compile nothing anew.

    Attributes:
      temperature: float32 [B, T], by position: logits are divided by it; positive.
      top_p: float32 [B], nucleus (Holtzman et al. 2020): the fewest codes whose probabilities reach this; 1 is off.
      top_k: int32 [B], the k most probable codes; 0 is off.
      guidance: float32 [B], weight of the labels (Ho and Salimans 2022); 1 is off.
    """

    temperature: jax.Array
    top_p: jax.Array
    top_k: jax.Array
    guidance: jax.Array


def filtered(logits: jax.Array, temperature: jax.Array, top_p: jax.Array, top_k: jax.Array) -> jax.Array:
    """Logits [B, K] float32 -> those at this temperature, the largest 0, every code that may not be drawn at -inf.

    The settings may be traced scalars: changing them compiles nothing anew. The most probable code always stays. Codes
    that tie with the last one kept are kept too. A code with the logit -inf is never drawn.

    Any positive temperature is right, the smallest and largest that float32 has and those that it rounds to 0 or
    infinity: less the largest logit, quotients overflow to -inf alone, the probability 0.
    """
    finite = jnp.finfo(jnp.float32)
    # Below `tiny` processors take numbers for 0.
    temperature = jnp.clip(temperature, finite.tiny, finite.max)
    logits = (logits - jnp.max(logits, axis=-1, keepdims=True)) / temperature
    probabilities, keys = jax.nn.softmax(logits, axis=-1), _ordered(logits)

    def enough(key: jax.Array) -> jax.Array:
        """Whether a code with this key may be drawn: those before it reach neither top_p nor top_k. [B, 1]"""
        ahead = keys > key
        mass = jnp.sum(jnp.where(ahead, probabilities, 0.0), axis=-1, keepdims=True)
        count = jnp.sum(ahead, axis=-1, keepdims=True)
        return ((mass < top_p) | (top_p >= 1)) & ((count < top_k) | (top_k <= 0))

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low & high) + ((low ^ high) >> 1)  # rounded down, without overflow
        return jnp.where(enough(middle), low, middle + 1), jnp.where(enough(middle), middle, high)

    # The lowest key that may be drawn. Bisection over all of the 2^32 is exact, and sorting takes ten times as long.
    highest = jnp.max(keys, axis=-1, keepdims=True)
    lowest, _ = jax.lax.fori_loop(0, 32, halve, (jnp.full_like(highest, -(2**31)), highest))
    return jnp.where(keys >= jnp.minimum(lowest, highest), logits, -jnp.inf)  # a top_p may be so small that it is 0


def _ordered(x: jax.Array) -> jax.Array:
    """float32 -> int32 in the same order."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def sample(keys: jax.Array, logits: jax.Array, temperature: jax.Array, top_p: jax.Array, top_k: jax.Array) -> jax.Array:
    """Draws a code a row: keys [B], logits [B, K] -> int32 [B]. Each row depends on its own key alone."""
    kept = filtered(logits, temperature, top_p, top_k)
    return jax.vmap(jax.random.categorical)(keys, kept).astype(jnp.int32)
