"""Piano rolls on the host: what sounds, and what begins, in each frame of any rate."""

import numpy as np

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores.score import DURATION, ONSET, PITCH

PITCHES = 128
SLACK = 0.01  # frames; onsets and ends that lie so near to a frame's border lie on it, however they were rounded
MAX_FRAMES = 1 << 26


def planes(notes: np.ndarray, num_frames: int, frames_per_second: float) -> tuple[np.ndarray, np.ndarray]:
    """Which pitches sound, and which begin, in each frame.

    A note sounds in the frames that it touches, one at least, and begins in the frame of its onset. Those of duration 0
    do neither: they only fill up a batch.

    Args:
      notes: float32 [N, 5] as in `Score.notes`, onsets in seconds from the first frame's beginning, any order; pitches
        are rounded.
      num_frames: T.
      frames_per_second: any rate.

    Returns:
      sounding and onsets, bool [T, 128] each.

    Raises:
      UserError: a number of frames or a rate that is none.
    """
    if not 0 <= num_frames <= MAX_FRAMES:
        raise UserError(f"num_frames is {num_frames}; it must be from 0 to {MAX_FRAMES}")
    if not 0 < frames_per_second < np.inf:
        raise UserError(f"frames_per_second is {frames_per_second}; it must be a positive number")
    notes = np.asarray(notes, np.float64).reshape(-1, 5)
    notes = notes[notes[:, DURATION] > 0]
    pitches = np.round(notes[:, PITCH]).astype(np.int64)
    first = np.floor(notes[:, ONSET] * frames_per_second + SLACK)
    last = np.maximum(np.ceil((notes[:, ONSET] + notes[:, DURATION]) * frames_per_second - SLACK) - 1, first)
    begins = (first >= 0) & (first < num_frames)
    heard = (last >= 0) & (first < num_frames)
    first, behind = (np.clip(frame, 0, num_frames).astype(np.int64) for frame in (first, last + 1))
    changes = np.zeros((num_frames + 1, PITCHES), np.int32)
    np.add.at(changes, (first[heard], pitches[heard]), 1)
    np.add.at(changes, (behind[heard], pitches[heard]), -1)
    onsets = np.zeros((num_frames, PITCHES), bool)
    onsets[first[begins], pitches[begins]] = True
    return np.cumsum(changes, axis=0)[:-1] > 0, onsets
