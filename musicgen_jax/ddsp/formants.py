"""Formant filters: a cascade of two-pole resonators, as a frame-wise product of spectra and as the exact recursion."""

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.runtime.errors import UserError


def resonator_coefficients(
    frequencies: jax.Array, bandwidths: jax.Array, sample_rate: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gain g and feedback a1, a2 of resonators with unity gain at 0 Hz: y[n] = g x[n] - a1 y[n-1] - a2 y[n-2].

    Klatt 1980, "Software for a cascade/parallel formant synthesizer": pole radius r = exp(-pi B / sample_rate) at the
    angle theta = 2 pi F / sample_rate.

    Args:
      frequencies: float32 [...], Hz, below Nyquist.
      bandwidths: float32, Hz, positive; the two broadcast against each other.
      sample_rate: Hz.

    Returns:
      g, a1, a2: float32 [...].
    """
    frequencies, bandwidths = jnp.broadcast_arrays(frequencies, bandwidths)
    log_radius = -jnp.pi * bandwidths / sample_rate
    radius = jnp.exp(log_radius)
    theta = 2 * jnp.pi * frequencies / sample_rate
    # 1 + a1 + a2, written as a sum of squares: the plain sum cancels in float32 where the formant is low and narrow.
    gain = jnp.expm1(log_radius) ** 2 + 4 * radius * jnp.sin(theta / 2) ** 2
    return gain, -2 * radius * jnp.cos(theta), radius**2


def response(frequencies: jax.Array, bandwidths: jax.Array, sample_rate: int, n_fft: int) -> jax.Array:
    """Complex response of a cascade: frequencies and bandwidths [..., N] -> complex64 [..., n_fft // 2 + 1]."""
    gain, a1, a2 = resonator_coefficients(frequencies, bandwidths, sample_rate)
    omega = 2 * np.pi * np.arange(n_fft // 2 + 1) / n_fft
    # The product of the denominators, in real arithmetic: XLA's complex arithmetic is ten times slower on a CPU.
    real, imaginary = jnp.ones(()), jnp.zeros(())
    for i in range(gain.shape[-1]):
        first, second = a1[..., i, None], a2[..., i, None]
        factor_real = 1 + first * np.float32(np.cos(omega)) + second * np.float32(np.cos(2 * omega))
        factor_imaginary = -first * np.float32(np.sin(omega)) - second * np.float32(np.sin(2 * omega))
        real, imaginary = (
            real * factor_real - imaginary * factor_imaginary,
            real * factor_imaginary + imaginary * factor_real,
        )
    scale = jnp.prod(gain, axis=-1)[..., None] / (real**2 + imaginary**2)
    return jax.lax.complex(scale * real, -scale * imaginary)


def magnitudes(frequencies: jax.Array, bandwidths: jax.Array, hz: jax.Array, sample_rate: int) -> jax.Array:
    """How much a cascade passes of sines: formants, bandwidths [..., N], sines [..., H] in Hz -> float32 [..., H]."""
    gain, a1, a2 = (x[..., None, :] for x in resonator_coefficients(frequencies, bandwidths, sample_rate))
    omega = 2 * jnp.pi * hz[..., None] / sample_rate
    real = 1 + a1 * jnp.cos(omega) + a2 * jnp.cos(2 * omega)
    imaginary = a1 * jnp.sin(omega) + a2 * jnp.sin(2 * omega)
    return jnp.prod(gain / jnp.sqrt(real**2 + imaginary**2), axis=-1)


def num_frames(num_samples: int, hop_length: int) -> int:
    """Frames of formants that `filter_frames` needs: one at each multiple of hop_length, both ends included."""
    return -(-num_samples // hop_length) + 1


def filter_frames(
    audio: jax.Array, frequencies: jax.Array, bandwidths: jax.Array, sample_rate: int, hop_length: int, n_fft: int = 0
) -> jax.Array:
    """Filters with formants that change frame by frame, by multiplying spectra: the way to train and to render.

    The waveform is cut by Hann windows of 2 * hop_length samples centred on the multiples of hop_length, each is
    filtered with its frame's formants by an FFT, and the results are added. The response is sampled, so what rings
    beyond n_fft samples folds back: n_fft / sample_rate should be at least 4 / B.

    Args:
      audio: float32 [B, S].
      frequencies: float32 [B, F, N], Hz, F = num_frames(S, hop_length), N resonators in cascade.
      bandwidths: float32, broadcastable to frequencies, Hz.
      sample_rate: Hz.
      hop_length: samples.
      n_fft: a multiple of hop_length, at least 2 * hop_length; 0 takes 4 * hop_length.

    Returns:
      float32 [B, S].

    Raises:
      UserError: another number of frames, or an n_fft that does not fit.
    """
    needed = num_frames(audio.shape[-1], hop_length)
    if frequencies.shape[1] != needed:
        raise UserError(
            f"formants have {frequencies.shape[1]} frames; {audio.shape[-1]} samples with hop_length {hop_length} "
            f"need {needed}: see formants.num_frames"
        )
    n_fft = n_fft or 4 * hop_length
    if n_fft % hop_length or n_fft < 2 * hop_length:
        raise UserError(f"n_fft is {n_fft}: it must be a multiple of hop_length={hop_length}, at least twice as large")
    batch, num_samples = audio.shape
    padding = (hop_length, needed * hop_length - num_samples)
    strips = jnp.pad(audio, ((0, 0), padding)).reshape(batch, needed + 1, hop_length)
    ramp = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.arange(hop_length) / hop_length)
    pieces = jnp.concatenate([strips[:, :-1] * ramp, strips[:, 1:] * (1 - ramp)], axis=-1)
    spectra = jnp.fft.rfft(pieces, n_fft) * response(frequencies, bandwidths, sample_rate, n_fft)
    strips_per_frame = n_fft // hop_length
    ringing = jnp.fft.irfft(spectra, n_fft).reshape(batch, needed, strips_per_frame, hop_length)
    total = sum(
        jnp.pad(ringing[:, :, i], ((0, 0), (i, strips_per_frame - 1 - i), (0, 0))) for i in range(strips_per_frame)
    )
    return total.reshape(batch, -1)[:, hop_length : hop_length + num_samples]


def filter_scan(audio: jax.Array, frequencies: jax.Array, bandwidths: jax.Array, sample_rate: int) -> jax.Array:
    """Filters by the recursion itself, exact sample by sample: the oracle, and fast on a CPU; sequential by nature.

    Args:
      audio: float32 [B, S].
      frequencies: float32 [B, S, N] Hz, or [B, 1, N] for formants that stay.
      bandwidths: float32, broadcastable to frequencies, Hz.
      sample_rate: Hz.

    Returns:
      float32 [B, S].
    """
    batch, num_samples = audio.shape
    shape = (batch, num_samples, frequencies.shape[-1])
    coefficients = resonator_coefficients(frequencies, bandwidths, sample_rate)
    coefficients = tuple(jnp.moveaxis(jnp.broadcast_to(c, shape), 1, 0) for c in coefficients)

    def step(state: tuple, inputs: tuple) -> tuple[tuple, jax.Array]:
        before, before_that = state
        value, gain, a1, a2 = inputs
        outputs = []
        for i in range(shape[-1]):
            value = gain[:, i] * value - a1[:, i] * before[:, i] - a2[:, i] * before_that[:, i]
            outputs.append(value)
        return (jnp.stack(outputs, axis=-1), before), value

    silence = jnp.zeros((batch, shape[-1]), audio.dtype)
    _, filtered = jax.lax.scan(step, (silence, silence), (audio.T, *coefficients))
    return filtered.T
