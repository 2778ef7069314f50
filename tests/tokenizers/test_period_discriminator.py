"""The discriminators of bands and of periods: what each hears, and the game of least squares against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_weights

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.tokenizers.adversarial import discriminator

SETTINGS = config.AdversarialConfig(
    weight=1.0, fft_sizes=(128,), bands=(0.25, 0.5), periods=(2, 3), width=2, objective="squares", normalize=True
)


@pytest.fixture(scope="module")
def judge():
    """Jitted (params, audio) -> Judgement, and parameters to begin with."""
    SETTINGS.validate()
    functional = modules.Functional(lambda rngs: discriminator.Discriminator(SETTINGS, rngs=rngs))
    return jax.jit(lambda params, audio: functional.bind(params, {})(audio)), random_weights(functional)[0]


def sounds(num_samples: int = 500) -> np.ndarray:
    return (0.3 * np.random.default_rng(0).standard_normal((2, num_samples))).astype(np.float32)


@pytest.mark.long
def test_shapes(judge):
    call, params = judge
    found = call(params, sounds())
    # 65 bins in bands of 16, 16 and 33, each halved three times; 500 samples are 250 and 167, divided by 3 four times.
    assert [x.shape for x in found.logits] == [(2, 16, 2 + 2 + 5), (4, 4), (6, 3)]
    assert [x.shape[2:] for x in found.features[0][:5]] == [(16, 2), (8, 2), (4, 2), (2, 2), (2, 2)]
    assert len(found.features[0]) == 15
    assert [x.shape[1:] for x in found.features[2]] == [(56, 2), (19, 8), (7, 32), (3, 64), (3, 64)]
    assert all(x.dtype == jnp.float32 for x in found.logits)


@pytest.mark.long
def test_loudness_and_offset_tell_nothing_and_silence_is_finite(judge):
    call, params = judge
    one, other = call(params, sounds()), call(params, 0.2 * sounds() + 0.1)
    for x, y in zip(one.logits, other.logits, strict=True):
        np.testing.assert_allclose(x, y, atol=0.02 * np.abs(np.asarray(x)).max())
    silence = np.zeros((2, 500), np.float32)

    def loss(audio: jax.Array) -> jax.Array:
        found = call(params, audio)
        return discriminator.generator_loss(found, "squares")

    assert np.isfinite(jax.jit(jax.grad(loss))(silence)).all()


def test_a_period_hears_each_of_its_places_by_itself():
    made = modules.Functional(lambda rngs: discriminator.PeriodDiscriminator(3, 2, dtype=jnp.float32, rngs=rngs))
    params = random_weights(made)[0]
    call = jax.jit(lambda audio: made.bind(params, {})(audio)[0])
    audio = sounds(501)
    changed = audio.copy()
    changed[1, 100] += 1
    rows = np.any(call(audio) != call(changed), axis=1)
    assert np.flatnonzero(rows).tolist() == [3 + 100 % 3]


def test_a_band_hears_its_frequencies_alone():
    made = modules.Functional(
        lambda rngs: discriminator.BandDiscriminator(128, 2, (0.25, 0.5), dtype=jnp.float32, rngs=rngs)
    )
    params = random_weights(made)[0]
    call = jax.jit(lambda audio: made.bind(params, {})(audio)[1])
    tone = np.sin(2 * np.pi * 48 / 128 * np.arange(1024)).astype(np.float32)[None]  # bin 48 of 64: in the last band
    features, silent = call(tone), call(0 * tone)
    heard = [float(np.abs(x - y)[:, 8:-8].max()) for x, y in zip(features, silent, strict=True)]
    assert max(heard[:10]) < 1e-3 < 0.01 < min(heard[10:])


def test_least_squares_equal_numpy():
    rng = np.random.default_rng(0)

    def judgement() -> discriminator.Judgement:
        logits = [jnp.float32(rng.standard_normal((2, 5, 3))), jnp.float32(rng.standard_normal((4, 9)))]
        return discriminator.Judgement(logits, [[jnp.float32(rng.standard_normal((2, 5, 4)))] for _ in range(2)])

    real, one = judgement(), judgement()
    truth = sum(np.mean((1 - np.asarray(x)) ** 2) for x in real.logits)
    lies, fooled = (sum(np.mean((np.asarray(x) - side) ** 2) for x in one.logits) for side in (0, 1))
    np.testing.assert_allclose(discriminator.discriminator_loss(real, [one, one], "squares"), truth + lies, rtol=1e-5)
    np.testing.assert_allclose(discriminator.generator_loss(one, "squares"), fooled, rtol=1e-5)
    apart = sum(np.abs(np.asarray(x[0] - y[0])).mean() for x, y in zip(real.features, one.features, strict=True))
    np.testing.assert_allclose(discriminator.feature_matching_loss(real, one, "squares"), apart, rtol=1e-5)
    right = [np.mean([(np.asarray(x) > 0.5).mean() for x in real.logits])]
    right += [np.mean([(np.asarray(x) < 0.5).mean() for x in one.logits])]
    np.testing.assert_allclose(discriminator.accuracy(real, [one], "squares"), np.mean(right), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": (0.5, 0.25)}, r"adversarial\.bands=\(0\.5, 0\.25\): must rise"),
        ({"bands": (0.001,)}, r"adversarial\.bands=\(0\.001,\)"),
        ({"bands": (1.0,)}, r"adversarial\.bands=\(1\.0,\)"),
        ({"periods": (1,)}, r"adversarial\.periods=\(1,\)"),
        ({"objective": "cubes"}, "adversarial.objective='cubes': must be one of hinge, squares"),
    ],
)
def test_what_cannot_be(changes, message):
    with pytest.raises(UserError, match=message):
        config.AdversarialConfig(**changes).validate()
