"""The discriminator's shapes and scales, its losses against NumPy, and who learns from which."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_weights

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers.adversarial import discriminator

SETTINGS = config.AdversarialConfig(weight=1.0, fft_sizes=(128, 32), width=4)


@pytest.fixture(scope="module")
def judge():
    """Jitted (params, audio) -> Judgement, and parameters to begin with."""
    functional = modules.Functional(lambda rngs: discriminator.Discriminator(SETTINGS, rngs=rngs))
    assert functional.abstract_buffers == {}
    return jax.jit(lambda params, audio: functional.bind(params, {})(audio)), random_weights(functional)[0]


def sounds(seed: int = 0) -> np.ndarray:
    return (0.3 * np.random.default_rng(seed).standard_normal((2, 512))).astype(np.float32)


def judgement(seed: int) -> discriminator.Judgement:
    """Made up, of two scales and three layers; logits on both sides of the hinge."""
    rng = np.random.default_rng(seed)
    return discriminator.Judgement(
        logits=[jnp.float32(1.5 * rng.standard_normal((2, 5, 3))), jnp.float32(rng.standard_normal((2, 9, 2)))],
        features=[[jnp.float32(rng.standard_normal((2, 5, 3, 4))) for _ in range(3)] for _ in range(2)],
    )


def test_shapes(judge):
    call, params = judge
    found = call(params, sounds())
    # Frames every n_fft / 4 samples; three halvings of n_fft / 2 + 1 bins.
    assert [x.shape for x in found.logits] == [(2, 17, 9), (2, 65, 3)]
    assert [x.shape[2:] for x in found.features[0]] == [(65, 4), (33, 4), (17, 4), (9, 4), (9, 4)]
    assert all(x.dtype == jnp.float32 for x in found.logits)


def test_the_spectrum_of_white_noise_has_unit_variance():
    noise = np.random.default_rng(0).standard_normal((4, 4096)).astype(np.float32)
    functional = modules.Functional(lambda rngs: discriminator.Discriminator(SETTINGS, rngs=rngs))
    for scale in functional.bind(random_weights(functional)[0], {}).scales:
        power = np.sum(np.asarray(scale.spectrum(noise))[:, 4:-4, 1:-1] ** 2, axis=-1)
        assert power.mean() == pytest.approx(1.0, rel=0.05)


def test_the_time_context_is_that_of_the_dilations(judge):
    call, params = judge
    audio = sounds()
    changed = audio.copy()
    changed[:, 256] += 1  # in frames 6..10 of 17 of the first scale
    difference = np.abs(call(params, audio).logits[0] - call(params, changed).logits[0]).max(axis=(0, 2))
    # The spectrum spreads it over 7..9 (at 6 and 10 the window is zero); 3 taps dilated 1, 1, 2, 4, 1, 1: ten more.
    assert (difference > 0).all()
    far = np.zeros((1, 4096), np.float32)
    far[:, 2048] = 1
    reached = np.abs(call(params, far).logits[0] - call(params, 0 * far).logits[0]).max(axis=(0, 2)) > 0
    assert np.flatnonzero(reached).min() == 64 - 1 - 10 and np.flatnonzero(reached).max() == 64 + 1 + 10


def test_losses_equal_numpy():
    real, one, two = (judgement(seed) for seed in range(3))

    def hinge(judgements, sign):
        return np.mean([np.maximum(0, 1 + sign * np.asarray(x)).mean() for j in judgements for x in j.logits])

    want = hinge([real], -1) + hinge([one, two], +1)
    np.testing.assert_allclose(discriminator.discriminator_loss(real, [one, two]), want, rtol=1e-5)
    np.testing.assert_allclose(discriminator.generator_loss(one), hinge([one], -1), rtol=1e-5)
    right = [np.mean([(np.asarray(x) > 0).mean() for x in real.logits])]
    right += [np.mean([(np.asarray(x) < 0).mean() for j in (one, two) for x in j.logits])]
    np.testing.assert_allclose(discriminator.accuracy(real, [one, two]), np.mean(right), rtol=1e-5)
    pairs = [
        (np.asarray(x), np.asarray(y)) for i in range(2) for x, y in zip(real.features[i], one.features[i], strict=True)
    ]
    want = np.mean([np.abs(x - y).mean() / np.abs(x).mean() for x, y in pairs])
    np.testing.assert_allclose(discriminator.feature_matching_loss(real, one), want, rtol=1e-5)
    assert float(discriminator.feature_matching_loss(real, real)) == 0


def test_frozen_judges_alike_and_passes_no_gradient_to_its_parameters():
    functional = modules.Functional(lambda rngs: discriminator.Discriminator(SETTINGS, rngs=rngs))
    params, audio = random_weights(functional)[0], sounds()

    def loss(params, audio, freeze):
        judge = functional.bind(params, {})
        judge = discriminator.frozen(judge) if freeze else judge
        return discriminator.generator_loss(judge(audio))

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), static_argnums=2)
    (value, (of_params, of_audio)), (same, (frozen_params, frozen_audio)) = (
        gradient(params, audio, freeze) for freeze in (False, True)
    )
    assert float(value) == float(same)
    np.testing.assert_array_equal(of_audio, frozen_audio)
    assert np.any(of_audio) and all(np.any(leaf) for leaf in jax.tree.leaves(of_params))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(frozen_params))


def test_silence_is_finite(judge):
    call, params = judge
    silence = np.zeros((2, 512), np.float32)

    def loss(audio):
        found = call(params, audio)
        return discriminator.feature_matching_loss(call(params, silence), found) + discriminator.generator_loss(found)

    assert np.isfinite(jax.jit(jax.grad(loss))(silence)).all()
