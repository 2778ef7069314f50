"""The score: which notes sound while each frame of codes does."""

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions import condition
from musicgen_jax.nn import tables
from musicgen_jax.transformer import weights

PITCHES = 128  # of MIDI
DECAY_SECONDS = 0.06  # of the planes that tell when a note began and when it will end
SLACK = 0.01  # frames; onsets and ends that lie so near to a frame's border lie on it, however they were rounded


class Score(nnx.Module):
    """Planes of all pitches, one linear layer: what sounds, how long since its onset, how long until its release."""

    stream, is_memory = 0x5C03E, False

    def __init__(self, model: config.PriorConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.config, self.dtype = model, dtype
        # Four voices are as large as a frame of codes.
        init = nnx.initializers.normal(0.5)
        inputs, width = num_planes(model.score_ahead) * PITCHES, model.transformer.width
        self.project = weights.Linear(
            inputs, width, (None, "width"), ("width",), kernel_init=init, dtype=dtype, rngs=rngs
        )
        if model.score_dropout:
            self.no_score = tables.table(1, width, rngs, std=1.0)

    def __call__(self, batch: dict[str, jax.Array], hidden: jax.Array | None = None) -> condition.Condition:
        """Embeds the notes.

        Args:
          batch: `notes` float32 [B, N, 5], see `planes`; `scored` bool [B], False where nobody knows the score, which
            is not the score of a rest.
          hidden: bool [B], windows that are told a trained vector instead, as those without a score are.

        Returns:
          added [B, T, D] in the compute dtype.
        """
        settings = self.config
        of_frames = planes(batch["notes"], settings.context, settings.codes_per_second, settings.score_ahead)
        added = self.project(of_frames.astype(self.dtype))
        if settings.score_dropout:
            unknown = ~batch["scored"] if hidden is None else hidden | ~batch["scored"]
            added = condition.instead(unknown, self.no_score[...], added)
        return condition.Condition(added=added)


def num_planes(ahead: float) -> int:
    """Planes of a pitch; `ahead` as in `planes`."""
    return 4 if ahead else 3


def planes(notes: jax.Array, num_frames: int, frames_per_second: float, ahead: float = 0.0) -> jax.Array:
    """What each frame knows of every pitch; time and memory grow with T * 128 + N, not with their product.

    A note sounds in the frames that it touches, one at least. Ages and times left are those of the frame's centre,
    since the latest onset of the pitch and until its next release: two voices on one pitch are a string struck again.

    Args:
      notes: float32 [B, N, 5], columns of `scores.score.Score.notes`, onsets in seconds from the first frame's
        beginning, any order; those of duration 0 only fill up. Pitches are rounded; outside of MIDI's they are silent.
      num_frames: T.
      frames_per_second: of the codes.
      ahead: seconds within which the next onset of a pitch is told; 0 leaves that plane out.

    Returns:
      float32 [B, T, planes * 128], one plane after the other: 1 while the pitch sounds; exp(-age / 60 ms) and
      exp(-time left / 60 ms) while it does; and with `ahead` the wait for its next onset, from 1 for at once down to 0.
    """
    # Row by row: where devices share the batch, each writes the planes of its own windows.
    return jax.vmap(lambda rows: _planes(rows, num_frames, frames_per_second, ahead))(notes)


def _planes(notes: jax.Array, num_frames: int, frames_per_second: float, ahead: float) -> jax.Array:
    """`planes` of one window: [N, 5] -> [T, planes * 128]."""
    pitch, onset, end = notes[:, 0], notes[:, 1], notes[:, 1] + notes[:, 2]
    first = jnp.floor(onset * frames_per_second + SLACK)
    last = jnp.maximum(jnp.ceil(end * frames_per_second - SLACK) - 1, first)
    # The number `PITCHES` is that of no column: what is written there is dropped.
    heard = (notes[:, 2] > 0) & (last >= 0)
    column = jnp.where(heard & (pitch >= -0.5), jnp.round(pitch), PITCHES).astype(jnp.int32)
    # One frame more than there are: what begins, or ends, behind the window.
    first, last, behind = (jnp.clip(x, 0, num_frames).astype(jnp.int32) for x in (first, last, last + 1))
    shape = num_frames + 1, PITCHES
    changes = jnp.zeros(shape, jnp.int32).at[first, column].add(1, mode="drop").at[behind, column].add(-1, mode="drop")
    sounds = jnp.cumsum(changes, axis=0)[:-1] > 0
    onsets = jnp.full(shape, -jnp.inf).at[first, column].max(onset, mode="drop")
    releases = jnp.full(shape, jnp.inf).at[last, column].min(end, mode="drop")
    centres = ((jnp.arange(num_frames) + 0.5) / frames_per_second)[:, None]
    age = centres - jax.lax.cummax(onsets)[:-1]
    left = jax.lax.cummin(releases, reverse=True)[:-1] - centres
    found = [sounds.astype(jnp.float32), *(jnp.where(sounds, _decayed(time), 0.0) for time in (age, left))]
    if ahead:
        nexts = jnp.full(shape, jnp.inf).at[first, column].min(onset, mode="drop")
        wait = jax.lax.cummin(nexts, reverse=True)[1:] - centres
        found.append(jnp.clip(1 - wait / ahead, 0.0, 1.0))
    return jnp.concatenate(found, axis=-1)


def _decayed(seconds: jax.Array) -> jax.Array:
    """What lies less than half a frame on the other side of the centre is now."""
    return jnp.exp(-jnp.maximum(seconds, 0.0) / DECAY_SECONDS)
