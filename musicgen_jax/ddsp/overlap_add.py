"""Short frames of sound -> one waveform. Frame k is centred on the middle of the k-th strip of hop_length samples."""

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.runtime.errors import UserError


def hann(length: int, hop_length: int) -> np.ndarray:
    """Hann window [length] float32, scaled so that windows which lie hop_length apart add to 1.

    Sampled half a sample off its ends, so that it is symmetric and length / hop_length windows overlap everywhere.

    Raises:
      UserError: length is not an even multiple of hop_length: the windows would not add to a constant.
    """
    if length % (2 * hop_length):
        raise UserError(f"a window of {length} samples is not an even multiple of the hop length {hop_length}")
    rise = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(length) + 0.5) / length)
    return (rise * 2 * hop_length / length).astype(np.float32)


def cut(audio: jax.Array, hop_length: int) -> jax.Array:
    """Frames of 2 * hop_length samples: [..., F * hop_length] -> [..., F, 2 * hop_length], zeros beyond the ends."""
    half = hop_length // 2
    padded = jnp.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(half, 2 * hop_length - half)])
    strips = padded.reshape(*audio.shape[:-1], -1, hop_length)
    return jnp.concatenate([strips[..., :-2, :], strips[..., 1:-1, :]], axis=-1)


def overlap_add(frames: jax.Array, hop_length: int) -> jax.Array:
    """Sum of frames of any even length at their places: [..., F, L] -> [..., F * hop_length].

    What reaches beyond the first and the last strip is cut off.
    """
    num_frames, length = frames.shape[-2:]
    strips_per_frame = 2 * -(-length // (2 * hop_length))
    margin = (strips_per_frame * hop_length - length) // 2
    frames = jnp.pad(frames, [(0, 0)] * (frames.ndim - 1) + [(margin, margin)])
    strips = frames.reshape(*frames.shape[:-1], strips_per_frame, hop_length)
    total = sum(
        jnp.pad(strips[..., i, :], [(0, 0)] * (frames.ndim - 2) + [(i, strips_per_frame - 1 - i), (0, 0)])
        for i in range(strips_per_frame)
    )
    first = (strips_per_frame - 1) * hop_length // 2
    return total.reshape(*frames.shape[:-2], -1)[..., first : first + num_frames * hop_length]
