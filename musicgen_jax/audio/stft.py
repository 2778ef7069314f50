"""Short-time Fourier transform of batches of waveforms."""

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.runtime.errors import UserError


def hann_window(window_length: int, n_fft: int) -> np.ndarray:
    """Periodic Hann window of `window_length` samples, zero-padded on both sides to `n_fft`. float32 [n_fft]."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_length) / window_length)
    left = (n_fft - window_length) // 2
    return np.pad(window, (left, n_fft - window_length - left)).astype(np.float32)


def frame(audio: jax.Array, frame_length: int, hop_length: int) -> jax.Array:
    """Overlapping frames of a waveform [..., S] -> [..., T, frame_length]; T = 1 + (S - frame_length) // hop_length.

    Raises:
      UserError: the waveform is shorter than one frame.
    """
    num_samples = audio.shape[-1]
    if num_samples < frame_length:
        raise UserError(f"waveform has {num_samples} samples, fewer than one frame of {frame_length}: pad it")
    num_frames = 1 + (num_samples - frame_length) // hop_length
    # Frames are gathered as strips of hop_length samples where that divides the frame: a reshape instead of a gather.
    if frame_length % hop_length == 0:
        strips_per_frame = frame_length // hop_length
        num_strips = num_frames + strips_per_frame - 1
        strips = audio[..., : num_strips * hop_length].reshape(*audio.shape[:-1], num_strips, hop_length)
        parts = [strips[..., i : i + num_frames, :] for i in range(strips_per_frame)]
        return jnp.concatenate(parts, axis=-1)
    starts = np.arange(num_frames)[:, None] * hop_length
    return audio[..., starts + np.arange(frame_length)]


def stft(audio: jax.Array, n_fft: int, hop_length: int, window_length: int) -> jax.Array:
    """Centred STFT with a Hann window: [..., S] float32 -> [..., T, n_fft // 2 + 1] complex64, T = 1 + S // hop_length.

    The waveform is padded with zeros by n_fft // 2 on both sides, so that frame t is centred on sample t * hop_length.
    """
    pad = [(0, 0)] * (audio.ndim - 1) + [(n_fft // 2, n_fft // 2)]
    frames = frame(jnp.pad(audio, pad), n_fft, hop_length)
    return jnp.fft.rfft(frames * hann_window(window_length, n_fft), axis=-1)


def magnitude(audio: jax.Array, n_fft: int, hop_length: int, window_length: int) -> jax.Array:
    """|STFT|, float32 [..., T, n_fft // 2 + 1]. The gradient at silence is zero: complex `abs` guarantees it in JAX."""
    return jnp.abs(stft(audio, n_fft, hop_length, window_length))
