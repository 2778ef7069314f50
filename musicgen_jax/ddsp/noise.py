"""White noise that is a function of the sample's number, and its shaping by a filter that changes frame by frame."""

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.ddsp import overlap_add
from musicgen_jax.runtime.errors import UserError


def white_noise(seeds: jax.Array, start: jax.typing.ArrayLike, num_samples: int) -> jax.Array:
    """Uniform noise in [-1, 1]: the same sample at the same position, however the waveform is cut into pieces.

    Each position is hashed to 32 bits (Steele et al. 2014, "Fast splittable pseudorandom number generators", with the
    constants of MurmurHash3's finalizer).

    Args:
      seeds: uint32 [B], one a row.
      start: int32 scalar, position of the first sample; it may be negative.
      num_samples: S.

    Returns:
      float32 [B, S], variance 1/3.
    """
    position = (jnp.asarray(start, jnp.int32) + jnp.arange(num_samples, dtype=jnp.int32)).astype(jnp.uint32)
    bits = _mix(position * np.uint32(0x9E3779B9) + _mix(seeds.astype(jnp.uint32))[:, None])
    return bits.astype(jnp.int32).astype(jnp.float32) * np.float32(2.0**-31)


def _mix(bits: jax.Array) -> jax.Array:
    bits = (bits ^ (bits >> 16)) * np.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * np.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)


def filter_frames(audio: jax.Array, magnitudes: jax.Array, hop_length: int) -> jax.Array:
    """Shapes a waveform by zero-phase filters given as magnitudes on a grid of frequencies.

    Frequency sampling as in Engel et al. 2020 (DDSP), section 3.3: the inverse transform of the magnitudes, under a
    Hann window, is each frame's impulse response of 2 (M - 1) taps; Hann frames of 2 * hop_length samples are filtered
    and added.

    Args:
      audio: float32 [B, F * hop_length].
      magnitudes: float32 [B, F, M], linear, at 0, 1 / (M - 1), ... 1 of Nyquist.
      hop_length: samples between frames.

    Returns:
      float32 [B, F * hop_length].

    Raises:
      UserError: the number of frames is not that of the waveform.
    """
    if magnitudes.shape[1] * hop_length != audio.shape[-1]:
        raise UserError(
            f"{magnitudes.shape[1]} frames of magnitudes for {audio.shape[-1]} samples at hop length {hop_length}: "
            f"{audio.shape[-1] / hop_length:g} are needed"
        )
    taps = 2 * (magnitudes.shape[-1] - 1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(taps) / taps)  # its middle, at taps // 2, is the tap of no delay
    response = jnp.roll(jnp.fft.irfft(magnitudes, taps), taps // 2, axis=-1) * window.astype(np.float32)
    pieces = overlap_add.cut(audio, hop_length) * overlap_add.hann(2 * hop_length, hop_length)
    length = 2 * hop_length + taps
    n_fft = 1 << (length - 1).bit_length()
    filtered = jnp.fft.irfft(jnp.fft.rfft(pieces, n_fft) * jnp.fft.rfft(response, n_fft), n_fft)[..., :length]
    return overlap_add.overlap_add(filtered, hop_length)
