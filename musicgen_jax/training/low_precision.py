"""Optimizer state in fewer bits: stored rounded, computed with in float32."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from musicgen_jax.training import rng


class StoredState(NamedTuple):
    """State of `stored`. count: int32, updates done; inner: the wrapped transformation's state, moments rounded."""

    count: jax.Array
    inner: Any


def stored(inner: optax.GradientTransformation, dtype: jnp.dtype) -> optax.GradientTransformation:
    """`inner` with the float arrays of its state kept in `dtype`; scalars and integers stay as they are.

    Rounding is at random, up or down so that the mean is exact. To the nearest, a second moment would stand still: with
    b2 = 0.999 it moves by a thousandth of itself at most, and neighbours in bfloat16 are 1/256 to 1/128 apart.
    """

    def is_moment(leaf: jax.Array) -> bool:
        return jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.ndim > 0

    def init(params: optax.Params) -> StoredState:
        made = jax.tree.map(lambda x: x.astype(dtype) if is_moment(x) else x, inner.init(params))
        return StoredState(jnp.int32(0), made)

    def update(
        updates: optax.Updates, old: StoredState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, StoredState]:
        exact = jax.tree.map(lambda x: x.astype(jnp.float32) if is_moment(x) else x, old.inner)
        updates, exact = inner.update(updates, exact, params)
        leaves, structure = jax.tree.flatten(exact)
        key = rng.key(0, "optimizer state", old.count)
        rounded = [
            round_at_random(leaf, dtype, jax.random.fold_in(key, index)) if is_moment(leaf) else leaf
            for index, leaf in enumerate(leaves)
        ]
        return updates, StoredState(old.count + 1, jax.tree.unflatten(structure, rounded))

    return optax.GradientTransformation(init, update)


def round_at_random(x: jax.Array, dtype: jnp.dtype, key: jax.Array) -> jax.Array:
    """float32 -> bfloat16, up or down with probabilities that keep the mean (Gupta et al. 2015, section 3).

    bfloat16 is the upper half of a float32: noise of the size of the lower half carries over as often as it should.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    kept = jax.lax.bitcast_convert_type((bits + noise) & jnp.uint32(0xFFFF0000), jnp.float32)
    return jnp.where(jnp.isfinite(x), kept, x).astype(dtype)
