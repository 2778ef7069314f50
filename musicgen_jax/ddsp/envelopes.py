"""Control signals: from frame rate to sample rate, and the ADSR envelope of a note."""

import jax
import jax.numpy as jnp
import numpy as np

# Below this many seconds a segment of an envelope counts as a jump; it keeps slopes and their gradients finite.
SHORTEST_SEGMENT = 1e-4


def lines(first: jax.Array, following: jax.Array, hop_length: int) -> jax.Array:
    """Straight lines from each value of `first` [...] towards that of `following`: [..., hop_length], `first` first."""
    rise = np.arange(hop_length, dtype=np.float32) / hop_length
    return first[..., None] + (following - first)[..., None] * rise


def upsample_linear(controls: jax.Array, hop_length: int) -> jax.Array:
    """Straight lines: [..., F] -> [..., F * hop_length]. Frame f sits on sample f * hop_length; the last holds."""
    following = jnp.concatenate([controls[..., 1:], controls[..., -1:]], axis=-1)
    return lines(controls, following, hop_length).reshape(*controls.shape[:-1], -1)


def adsr(
    age: jax.Array,
    gate: jax.Array,
    attack: jax.typing.ArrayLike,
    decay: jax.typing.ArrayLike,
    sustain: jax.typing.ArrayLike,
    release: jax.typing.ArrayLike,
) -> jax.Array:
    """Attack-decay-sustain-release envelope in [0, 1], of straight lines; differentiable in every argument.

    Args:
      age: float32 [...], seconds since the note's onset; negative before it, where the envelope is 0.
      gate: float32, broadcast against age: seconds for which the key is held. The release starts there, from
        whatever level has been reached.
      attack: seconds from 0 to 1.
      decay: seconds from 1 to `sustain`.
      sustain: level held until the gate closes, in [0, 1].
      release: seconds from the level at the gate's end to 0.

    Returns:
      float32, the broadcast shape of age and gate.
    """
    held = jnp.clip(age, 0.0, gate)
    rise = jnp.clip(held / jnp.maximum(attack, SHORTEST_SEGMENT), 0.0, 1.0)
    fall = jnp.clip((held - attack) / jnp.maximum(decay, SHORTEST_SEGMENT), 0.0, 1.0)
    fade = jnp.clip((age - gate) / jnp.maximum(release, SHORTEST_SEGMENT), 0.0, 1.0)
    return rise * (1.0 - (1.0 - sustain) * fall) * (1.0 - fade)
