"""Masking schedules: which share of the codes is masked at time t, from 0 (none) to 1 (all).

In the notation of Sahoo et al. 2024 (MDLM) that share is 1 - alpha(t). The bound on the likelihood weighs the masked
codes' cross-entropy by -alpha'(t) / (1 - alpha(t)); in continuous time its value is the same for every schedule, which
decides only how noisy an estimate of it is.
"""

import jax
import jax.numpy as jnp

from musicgen_jax import config


def masked_share(schedule: str, t: jax.typing.ArrayLike) -> jax.Array:
    """1 - alpha(t), of the shape of `t`: t ("linear"), or cos(pi / 2 (1 - t)) ("cosine", Chang et al. 2022, MaskGIT).

    Raises:
      UserError: an unknown schedule.
    """
    known = config.SCHEDULES
    config.require(schedule in known, f"schedule={schedule!r}: must be one of {', '.join(known)}")
    t = jnp.asarray(t, jnp.float32)
    return t if schedule == "linear" else jnp.cos(jnp.pi / 2 * (1 - t))


def masking_rate(schedule: str, t: jax.typing.ArrayLike) -> jax.Array:
    """-alpha'(t), the slope of `masked_share`; raises as it."""
    share = masked_share(schedule, t)
    return jnp.ones_like(share) if schedule == "linear" else jnp.pi / 2 * jnp.sqrt(1 - share**2)


def stratified_times(key: jax.Array, num: int) -> jax.Array:
    """`num` times in (0, 1], float32, each uniform, one in every interval of length 1 / num (Kingma et al. 2021).

    A batch sees little and much masking at every step, and the estimate of the bound varies less than with times drawn
    one by one.
    """
    offset = jax.random.uniform(key)
    return 1 - (offset + jnp.arange(num) / num) % 1


def step_bounds(total: jax.Array, steps: int, schedule: str) -> jax.Array:
    """Of `total` codes int32 [B], how many are known before step 0, 1, ... `steps`: int32 [steps + 1, B].

    Every step makes at least one code known, where there are as many: a schedule that is slow at first would let calls
    of the network draw nothing. Of fewer codes than steps each has a step of its own.
    """
    step = jnp.arange(steps + 1)
    wanted = jnp.round((1 - masked_share(schedule, 1 - step / steps))[:, None] * total)
    evenly = jnp.round((step / steps)[:, None] * total)
    least = jnp.minimum(step[:, None], evenly)
    return jnp.maximum(wanted, least).astype(jnp.int32).at[steps].set(total)
