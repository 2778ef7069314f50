"""Masked training windows, and how much each masked code counts."""

import jax
import jax.numpy as jnp

from musicgen_jax.diffusion import order, schedules


def masked_codes(codes: jax.Array, known: jax.Array, num_codes: int) -> jax.Array:
    """codes int32 [B, T, 1] with K where they are not known (bool [B, T])."""
    return jnp.where(known[..., None], codes, num_codes)


def draw(key: jax.Array, exists: jax.Array, schedule: str) -> tuple[jax.Array, jax.Array]:
    """Draws which codes are masked, and the weights with which their cross-entropies bound -log p of the window.

    At time t exactly n = ceil(L * masked_share(t)) of the L codes that exist are masked, any n of them alike. Their
    weight -alpha'(t) * L / n is the bound's -alpha' / (1 - alpha) with the share that is really masked: summed over a
    window it does not vary at all (linear schedule), where masking code by code would leave it to chance. The mean over
    t is that over any order in which the codes may become known, of -log p by the chain rule (Ou et al. 2024, equation
    13: the continuous-time bound and this one are equal).

    Args:
      key: of the step.
      exists: bool [B, T], False behind the track's end; such codes are never known and never counted.
      schedule: of `schedules.masked_share`.

    Returns:
      (known bool [B, T], weights float32 [B, T], 0 for codes that are known). The mean of a window's sum of weights
      is L.
    """
    time_key, order_key = jax.random.split(key)
    t = schedules.stratified_times(time_key, exists.shape[0])
    length = jnp.sum(exists, axis=-1)
    num_masked = jnp.clip(jnp.ceil(schedules.masked_share(schedule, t) * length), 1, jnp.maximum(length, 1))
    place = order.ranks(jax.random.uniform(order_key, exists.shape), exists)
    masked = exists & (place < num_masked[:, None])
    weight = schedules.masking_rate(schedule, t) * length / num_masked
    return exists & ~masked, masked * weight[:, None]
