"""A bank of harmonic oscillators whose phase stays exact for as long as one likes to listen."""

import functools

import jax
import jax.numpy as jnp

from musicgen_jax.ddsp import envelopes
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sharding import meshes

PART_SAMPLES = 2048  # of a voice: all that is rotated of some voices then stays in the caches of a CPU


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def phase(f0: jax.Array, sample_rate: int) -> jax.Array:
    """Running phase of an oscillator: the inclusive cumulative sum of f0 / sample_rate, wrapped to half a cycle.

    The sum runs in 32-bit fixed point, whose overflow *is* the wrap: a float32 sum loses the pitch within minutes,
    and a float32 sum wrapped in chunks still adds each chunk's rounding error. Here the error is at most 2**-33 cycles
    a sample, whatever has gone before: 0.002 cycles after ten minutes at 22 kHz. The derivative is the real sum's.

    Args:
      f0: float32 [..., S], Hz.
      sample_rate: Hz, an integer above 2.

    Returns:
      float32 [..., S], cycles in [-0.5, 0.5].
    """
    cycle = 2.0**32
    whole_step, rest_of_step = divmod(2**32, sample_rate)
    # f0 in whole Hz and a remainder, both exact: the whole part is multiplied in integers, modulo one cycle.
    whole = jnp.round(f0)
    fine = whole * (rest_of_step / sample_rate) + (f0 - whole) * (cycle / sample_rate)
    steps = whole.astype(jnp.int32) * jnp.int32(whole_step) + jnp.round(fine).astype(jnp.int32)
    return jnp.cumsum(steps, axis=-1).astype(jnp.float32) / cycle


@phase.defjvp
def _phase_jvp(sample_rate: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    return phase(primals[0], sample_rate), jnp.cumsum(tangents[0], axis=-1) / sample_rate


def harmonic_oscillators(f0: jax.Array, amplitudes: jax.Array, sample_rate: int) -> jax.Array:
    """Sum of sines at the multiples of a fundamental: harmonic h of frame f sounds with amplitudes[:, f, h - 1].

    Harmonics at or above Nyquist are silent, decided sample by sample, so nothing aliases. Only one sine and one cosine
    are computed a sample; the harmonics follow by rotation, z[h + 1] = z[h] * z[1], whose float32 error grows by about
    1e-7 a harmonic (-100 dB at a hundred harmonics). Additive synthesis as in Engel et al. 2020 (DDSP), section 3.1.

    Args:
      f0: float32 [B, S], Hz.
      amplitudes: float32 [B, F, H], linear. F = S for a value a sample; otherwise F divides S and frame f sits on
        sample f * S / F, with straight lines between the frames. Zeros and their gradients are fine.
      sample_rate: Hz.

    Returns:
      float32 [B, S].

    Raises:
      UserError: the number of frames does not divide the number of samples, or the batches differ.
    """
    num_samples, num_frames = f0.shape[-1], amplitudes.shape[1]
    if f0.shape[0] != amplitudes.shape[0] or num_samples % num_frames:
        raise UserError(
            f"f0 has shape {f0.shape} and amplitudes {amplitudes.shape}; they must be [B, S] and [B, F, H] with F "
            "dividing S: pad f0 to whole frames"
        )
    strips = (*f0.shape[:-1], num_frames, num_samples // num_frames)
    angle = 2 * jnp.pi * phase(f0, sample_rate).reshape(strips)
    audio = _sum_of_harmonics(jnp.sin(angle), jnp.cos(angle), f0.reshape(strips), amplitudes, sample_rate)
    return audio.reshape(f0.shape)


def _sum_of_harmonics(
    sine: jax.Array, cosine: jax.Array, f0: jax.Array, amplitudes: jax.Array, sample_rate: int
) -> jax.Array:
    """[B, F, L] of frames of L samples each, amplitudes [B, F, H]: on a CPU a few frames at a time, all harmonics of
    them. All at once, what is rotated would go to memory and back for every harmonic, which takes seven times as long.
    """
    num_frames, length = f0.shape[1:]
    together = max(PART_SAMPLES // length, 1) if meshes.platform() == "cpu" else num_frames
    missing = -num_frames % together

    def parts(x: jax.Array) -> jax.Array:
        """[B, F, ...] -> [parts, B, together, ...]."""
        padded = jnp.pad(x, ((0, 0), (0, missing), (0, 0)))
        return jnp.moveaxis(padded.reshape(len(x), -1, together, x.shape[-1]), 1, 0)

    following = jnp.concatenate([amplitudes[:, 1:], amplitudes[:, -1:]], axis=1)
    inputs = (sine, cosine, f0, amplitudes, following)
    sums = jax.lax.map(lambda part: _sum_of_part(*part, sample_rate), tuple(map(parts, inputs)))
    return jnp.moveaxis(sums, 0, 1).reshape(len(f0), -1, length)[:, :num_frames]


def _sum_of_part(
    sine: jax.Array, cosine: jax.Array, f0: jax.Array, amplitudes: jax.Array, following: jax.Array, sample_rate: int
) -> jax.Array:
    """As `_sum_of_harmonics`; `following` has the amplitudes of each frame's next one."""
    audio = jnp.zeros_like(f0)
    imaginary, real = sine, cosine
    for harmonic in range(1, amplitudes.shape[-1] + 1):
        amplitude = envelopes.lines(amplitudes[..., harmonic - 1], following[..., harmonic - 1], f0.shape[-1])
        audio += jnp.where(harmonic * f0 < sample_rate / 2, amplitude * imaginary, 0.0)
        imaginary, real = imaginary * cosine + real * sine, real * cosine - imaginary * sine
    return audio
