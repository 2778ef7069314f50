"""Voices of harmonic oscillators that start afresh at every frame: what a network can drive and learn through."""

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.ddsp import overlap_add


def harmonic_voices(
    f0: jax.Array, cosine: jax.Array, sine: jax.Array, hop_length: int, sample_rate: int, overlap: int = 2
) -> jax.Array:
    """Sum of all harmonics of all voices, by overlap-add of windowed sinusoids.

    Frame k is centred at t_k = (k + 1/2) * hop_length samples and sounds there as
    sum over v, h of cosine[v, h] cos(2 pi h f0[v] (t - t_k)) + sine[v, h] sin(2 pi h f0[v] (t - t_k)), with a Hann
    window of overlap * hop_length samples (George & Smith 1997, "Speech analysis/synthesis and modification using an
    analysis-by-synthesis/overlap-add sinusoidal model"). Two things follow from a phase that is given at every frame
    instead of being the sum of all frequencies before it (as in `oscillators.harmonic_oscillators`): no error can grow,
    so ten minutes stay in tune, and a frame's sound depends on that frame alone, so a window of frames can be rendered
    by itself. And the gradient with respect to f0 is as good as the window is short.

    A window's samples are a grid of R rows by C columns; e^(i w (a + b)) = e^(i w a) e^(i w b) makes the whole sum one
    product of matrices with R + C exponentials a sinusoid instead of R * C.

    Args:
      f0: float32 [B, F, V], Hz.
      cosine: float32 [B, F, V, H], amplitudes in phase at the frame's centre; harmonics at or above Nyquist are silent.
      sine: float32 [B, F, V, H], amplitudes a quarter of a cycle behind.
      hop_length: samples between frames.
      sample_rate: Hz.
      overlap: window length in hops, even.

    Returns:
      float32 [B, F * hop_length].

    Raises:
      UserError: overlap is odd.
    """
    length = overlap * hop_length
    window = overlap_add.hann(length, hop_length)
    numbers = np.arange(1, cosine.shape[-1] + 1, dtype=np.float32)
    frequency = f0[..., None] * numbers
    audible = frequency < sample_rate / 2
    flat = (*f0.shape[:2], -1)
    real = jnp.where(audible, cosine, 0.0).reshape(flat)[:, :, None]
    imaginary = jnp.where(audible, -sine, 0.0).reshape(flat)[:, :, None]
    columns = 2 ** (int(np.log2(length)) // 2)
    rows = -(-length // columns)
    coarse = (np.arange(rows) * columns - (length - 1) / 2) / sample_rate
    fine = np.arange(columns) / sample_rate
    coarse_sine, coarse_cosine = _turns(frequency.reshape(flat), coarse)
    fine_sine, fine_cosine = _turns(frequency.reshape(flat), fine)
    left = jnp.concatenate(
        [
            real * coarse_cosine - imaginary * coarse_sine,
            -real * coarse_sine - imaginary * coarse_cosine,
        ],
        axis=-1,
    )
    right = jnp.concatenate([fine_cosine, fine_sine], axis=-1)
    frames = jnp.einsum("bfrn,bfcn->bfrc", left, right, precision=jax.lax.Precision.HIGHEST)
    frames = frames.reshape(*f0.shape[:2], -1)[..., :length]
    return overlap_add.overlap_add(frames * window, hop_length)


def _turns(frequency: jax.Array, times: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Sine and cosine of 2 pi f t: [B, F, N] Hz and [T] seconds -> two of [B, F, T, N]."""
    cycles = frequency[:, :, None] * times.astype(np.float32)[:, None]
    angle = 2 * jnp.pi * (cycles - jnp.round(cycles))
    return jnp.sin(angle), jnp.cos(angle)
