"""Reverberation: the sound and its echoes, by one impulse response."""

import jax
import jax.numpy as jnp


def reverberate(audio: jax.Array, echoes: jax.Array) -> jax.Array:
    """audio[n] + sum over d of echoes[d] audio[n - 1 - d]: the dry sound always passes with gain 1.

    Args:
      audio: float32 [B, S].
      echoes: float32 [L], gains of the delays 1 to L samples.

    Returns:
      float32 [B, S]; what would ring beyond the end is cut off.
    """
    length = audio.shape[-1] + echoes.shape[-1]
    n_fft = 1 << (length - 1).bit_length()
    wet = jnp.fft.irfft(jnp.fft.rfft(audio, n_fft) * jnp.fft.rfft(echoes, n_fft), n_fft)
    return audio + jnp.pad(wet[..., : audio.shape[-1] - 1], ((0, 0), (1, 0)))
