"""Which codes of a window are masked: how many at time t, which of them, and in what order they become known.

The schedule says which share of the codes is masked at time t, from 0 (none) to 1 (all). In the notation of Sahoo et
al. 2024 (MDLM) that share is 1 - alpha(t). The bound on the likelihood weighs the masked codes' cross-entropy by
-alpha'(t) / (1 - alpha(t)); in continuous time its value is the same for every schedule, which decides only how noisy
an estimate of it is.

The order is a priority for every position, the smallest being known first. A step of the sampler draws its codes
independently of each other. "spread" keeps those that share a step as far apart as can be: positions by their bits read
backwards (van der Corput 1935), so that of 2^m steps each makes every 2^m-th code known, between those of the steps
before. Two steps of twice as many are one step. "random" is the order of the diffusion process itself.
"""

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config

ORDERS = ("spread", "random")
BITS = 24  # more than any track has positions, and exact in float32


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
      schedule: of `masked_share`.

    Returns:
      (known bool [B, T], weights float32 [B, T], 0 for codes that are known). The mean of a window's sum of weights
      is L.
    """
    time_key, order_key = jax.random.split(key)
    t = stratified_times(time_key, exists.shape[0])
    length = jnp.sum(exists, axis=-1)
    num_masked = jnp.clip(jnp.ceil(masked_share(schedule, t) * length), 1, jnp.maximum(length, 1))
    place = ranks(jax.random.uniform(order_key, exists.shape), exists)
    masked = exists & (place < num_masked[:, None])
    weight = masking_rate(schedule, t) * length / num_masked
    return exists & ~masked, masked * weight[:, None]
