"""Control upsampling and the ADSR envelope against their definitions."""

import jax
import numpy as np

from musicgen_jax.ddsp import envelopes


def test_linear_upsampling_is_interpolation():
    controls = np.random.default_rng(0).normal(size=(2, 3, 9)).astype(np.float32)
    expected = np.apply_along_axis(lambda c: np.interp(np.arange(9 * 16) / 16, np.arange(9), c), -1, controls)
    np.testing.assert_allclose(envelopes.upsample_linear(controls, 16), expected, atol=1e-6)


def test_adsr_passes_through_its_corners():
    age = np.array([-0.1, 0.0, 0.05, 0.1, 0.2, 0.3, 0.9, 1.0, 1.1, 1.2, 5.0], np.float32)
    envelope = envelopes.adsr(age, 1.0, attack=0.1, decay=0.2, sustain=0.6, release=0.2)
    np.testing.assert_allclose(envelope, [0, 0, 0.5, 1, 0.8, 0.6, 0.6, 0.6, 0.3, 0, 0], atol=1e-5)


def test_adsr_releases_from_the_level_it_has_reached():
    age = np.array([0.04, 0.05, 0.1, 0.15], np.float32)
    envelope = envelopes.adsr(age, 0.05, attack=0.1, decay=0.2, sustain=0.6, release=0.1)
    np.testing.assert_allclose(envelope, [0.4, 0.5, 0.25, 0], atol=1e-5)


def test_adsr_gradients_are_finite_even_where_segments_have_no_length():
    age = np.linspace(-0.5, 2, 101, dtype=np.float32)

    def total(parameters):
        return envelopes.adsr(age, 1.0, *parameters).sum()

    for parameters in ([0.1, 0.2, 0.6, 0.2], [0.0, 0.0, 0.0, 0.0]):
        gradient = np.asarray(jax.grad(total)(np.array(parameters, np.float32)))
        assert np.isfinite(gradient).all()
    gradient = np.asarray(jax.grad(total)(np.array([0.1, 0.2, 0.6, 0.2], np.float32)))
    assert gradient[0] < 0 < gradient[2]  # a slower attack is quieter, a higher sustain louder
    assert gradient[3] > 0  # a longer release sounds on
