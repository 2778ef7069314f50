"""The order in which codes become known, as a priority for every position: the smallest is known first.

A step of the sampler draws its codes independently of each other. "spread" keeps those that share a step as far apart
as can be: positions by their bits read backwards (van der Corput 1935), so that of 2^m steps each makes every 2^m-th
code known, between those of the steps before. Two steps of twice as many are one step. "random" is the order of the
diffusion process itself.
"""

import jax
import jax.numpy as jnp
import numpy as np

ORDERS = ("spread", "random")
BITS = 24  # more than any track has positions, and exact in float32


def spread(positions: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
    """The van der Corput sequence in base 2 at integer positions, float32 in [0, 1), of the shape of `positions`."""
    reversed_bits = 0 * positions
    for bit in range(BITS):
        reversed_bits |= ((positions >> bit) & 1) << (BITS - 1 - bit)
    return (reversed_bits / 2**BITS).astype(np.float32)


def ranks(priority: jax.Array, among: jax.Array) -> jax.Array:
    """Place of every position among those that count: 0 for the smallest priority.

    Args:
      priority: float32 [B, T].
      among: bool [B, T]; where False, the place is behind all others.

    Returns:
      int32 [B, T].
    """
    order = positions_in_order(priority, among)
    return jnp.argsort(order, axis=-1).astype(jnp.int32)


def positions_in_order(priority: jax.Array, among: jax.Array) -> jax.Array:
    """int32 [B, T]: the positions that count by their priority, then the others; arguments as `ranks`."""
    return jnp.argsort(jnp.where(among, priority, jnp.inf), axis=-1).astype(jnp.int32)
