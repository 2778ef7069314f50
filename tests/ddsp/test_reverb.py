"""Reverberation against NumPy's convolution."""

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.ddsp import reverb


def test_it_is_the_sound_and_its_convolution():
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((2, 700)).astype(np.float32)
    echoes = rng.standard_normal(90).astype(np.float32)
    response = np.concatenate([[1.0], echoes])
    want = np.stack([np.convolve(row, response)[:700] for row in audio])
    np.testing.assert_allclose(reverb.reverberate(audio, echoes), want, atol=1e-4)


def test_echoes_longer_than_the_sound_and_none_at_all():
    audio = np.random.default_rng(1).standard_normal((1, 20)).astype(np.float32)
    echoes = np.ones(50, np.float32)
    want = np.convolve(audio[0], np.ones(51))[:20]
    np.testing.assert_allclose(reverb.reverberate(audio, echoes)[0], want, atol=1e-5)
    np.testing.assert_allclose(reverb.reverberate(audio, np.zeros(0, np.float32)), audio, atol=1e-6)


def test_gradient_is_finite_at_silence():
    gradient = jax.grad(lambda e: jnp.sum(reverb.reverberate(jnp.zeros((1, 64)), e) ** 2))(jnp.zeros(16))
    np.testing.assert_array_equal(gradient, 0)
