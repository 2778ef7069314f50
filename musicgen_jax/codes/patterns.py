"""In which order a prior predicts codes where a frame has several (Copet et al. 2023, MusicGen, section 2.2).

A model of codes [T, Q] (T frames of Q codes each) takes S steps, each of which predicts at most one code of every
codebook. A pattern says which:

    delay    codebook q lags q steps behind the first: S = T + Q - 1. Given the past, the codes of a step are
             independent, and each has seen the codes of its own frame that belong to the codebooks before it.
    stereo_delay  the same of two channels, whose codebooks alternate: left and right of one depth share a step, so
             that codebook q lags q // 2 steps.
    flat     one code a step, frame by frame: S = T * Q. Exact, and Q times as many steps.

Of one codebook both are the codes themselves.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Pattern:
    """Which code is predicted at which step.

    Attributes:
      steps: int32 [T, Q], the step of each code; it grows with the frame and with the codebook.
      frames: int32 [S, Q], its inverse: the frame of each codebook whose code a step predicts, -1 where it has none.
    """

    steps: np.ndarray
    frames: np.ndarray

    @property
    def codebook(self) -> np.ndarray | None:
        """int32 [S]: the one codebook that a step predicts a code of; None where that is no question."""
        present = self.frames >= 0
        alone = not self._is_plain and (present.sum(axis=1) == 1).all()
        return np.argmax(present, axis=1).astype(np.int32) if alone else None

    @property
    def newest(self) -> np.ndarray:
        """int32 [S]: of the frames that a step predicts codes of, the latest."""
        return self.frames.max(axis=1)

    def placed(self, codes: jax.Array, fill: int | bool) -> jax.Array:
        """Values of codes, [B, T, Q, ...], by the steps that predict them: [B, S, Q, ...].

        `fill` stands where a step predicts no code of a codebook.
        """
        if self._is_plain:
            return codes
        moved = jnp.asarray(codes)[:, np.maximum(self.frames, 0), np.arange(self.frames.shape[1])]
        absent = (self.frames < 0).reshape(*self.frames.shape, *(1,) * (moved.ndim - 3))
        return jnp.where(absent, jnp.asarray(fill, moved.dtype), moved)

    def restored(self, placed: jax.Array) -> jax.Array:
        """Values by step, [B, S, Q, ...], in the order of the codes that they belong to: [B, T, Q, ...]; the inverse of
        `placed`."""
        return placed if self._is_plain else placed[:, self.steps, np.arange(self.steps.shape[1])]

    @property
    def _is_plain(self) -> bool:
        return self.steps.shape[1] == 1


def delay(num_frames: int, num_codebooks: int) -> Pattern:
    """Codebook q lags q steps behind the first: S = T + Q - 1 steps for T frames of Q codes."""
    return _of_steps(np.arange(num_frames)[:, None] + np.arange(num_codebooks))


def stereo_delay(num_frames: int, num_codebooks: int) -> Pattern:
    """Codebooks 2 q and 2 q + 1, one of each channel, lag q steps: S = T + (Q - 1) // 2 steps for T frames."""
    return _of_steps(np.arange(num_frames)[:, None] + np.arange(num_codebooks) // 2)


def flat(num_frames: int, num_codebooks: int) -> Pattern:
    """One code a step, frame by frame: S = T * Q steps for T frames of Q codes."""
    return _of_steps(np.arange(num_frames * num_codebooks).reshape(num_frames, num_codebooks))


@functools.cache
def of(name: str, num_frames: int, num_codebooks: int) -> Pattern:
    """The pattern with a name of `config.PATTERNS`, for T frames of Q codes."""
    return {"delay": delay, "stereo_delay": stereo_delay, "flat": flat}[name](num_frames, num_codebooks)


def _of_steps(steps: np.ndarray) -> Pattern:
    frames = np.full((steps.max() + 1, steps.shape[1]), -1, np.int32)
    frames[steps, np.arange(steps.shape[1])] = np.arange(len(steps))[:, None]
    return Pattern(steps.astype(np.int32), frames)
