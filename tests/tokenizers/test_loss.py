"""The objective: its terms, its behaviour at silence, and that training lowers it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_weights
from tiny_layouts import TIERS

from musicgen_jax import config
from musicgen_jax.audio import spectral_losses
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers.vqvae import data_statistics, loss, vqvae

TERMS = {"l2", "spectral", "commitment", "latent_power", "usage", "perplexity", "dead"}
EVERYTHING = config.LossConfig(l1=1, l2=1, linf=1, linf_k=100, spectral=1, log_spectral=1, mel=1)


@pytest.fixture(scope="module")
def small() -> tuple[config.VQVAEConfig, modules.Functional, tuple]:
    """Hops 8, 4, 2: few layers, so that compiling them is quick."""
    sizes = {"width": 16, "depth": 1}
    settings = config.VQVAEConfig(
        sample_rate=4000,
        top=config.TierConfig(downsampling=(2, 1), **sizes),
        middle=config.TierConfig(downsampling=(2,), **sizes),
        bottom=config.TierConfig(downsampling=(1,), **sizes),
        quantizer=config.QuantizerConfig(num_codes=32, code_width=8, ema_decay=0.9),
    )
    functional = modules.Functional(lambda rngs: vqvae.VQVAE(settings, rngs=rngs))
    return settings, functional, random_weights(functional)


@pytest.fixture(scope="module")
def gradients(small):
    """Jitted (params, buffers, audio, step) -> (loss, metrics, new buffers, gradients) of a training step."""
    _, functional, _ = small

    def total(params, buffers, audio, step):
        model = functional.bind(params, buffers)
        value, metrics = loss.vqvae_loss(model, audio, config.LossConfig(), jax.random.key(step), train=True)
        return value, (metrics, functional.buffers_of(model))

    @jax.jit
    def step(params, buffers, audio, index):
        (value, (metrics, buffers)), grads = jax.value_and_grad(total, has_aux=True)(params, buffers, audio, index)
        return value, metrics, buffers, grads

    return step


def four_tones(num_samples: int = 1024) -> np.ndarray:
    time = np.arange(num_samples) / 4000
    return np.stack([0.3 * np.sin(2 * np.pi * hertz * time) for hertz in (110, 220, 330, 440)]).astype(np.float32)


@pytest.mark.long
def test_terms_are_named_by_tier_and_sum_to_the_loss(small, gradients):
    _, _, weights = small
    settings = config.LossConfig()
    value, metrics, _, _ = gradients(*weights, four_tones(), 0)
    assert set(metrics) == {f"{tier}/{term}" for tier in TIERS for term in TERMS | {"restarts"}}
    want = sum(
        metrics[f"{tier}/l2"]
        + settings.spectral * metrics[f"{tier}/spectral"]
        + settings.commitment * metrics[f"{tier}/commitment"]
        for tier in TIERS
    )
    np.testing.assert_allclose(value, want, rtol=1e-5)


def test_evaluation_changes_no_codebook(small):
    _, functional, weights = small

    @jax.jit
    def evaluate(weights, audio):
        model = functional.bind(*weights)
        _, metrics = loss.vqvae_loss(model, audio, config.LossConfig(), jax.random.key(0), train=False)
        return metrics, functional.buffers_of(model)

    metrics, buffers = evaluate(weights, four_tones())
    assert set(metrics) == {f"{tier}/{term}" for tier in TIERS for term in TERMS | {loss.SHARES}}
    jax.tree.map(np.testing.assert_array_equal, buffers, weights[1])


def test_silence_is_finite(small, gradients):
    for result in jax.tree.leaves(gradients(*small[2], np.zeros((4, 1024), np.float32), 0)):
        assert np.isfinite(result).all()


def compare(audio, reconstruction, settings: config.LossConfig, statistics=None) -> dict[str, jax.Array]:
    reference = loss.make_reference(jnp.float32(audio), settings, 4000, statistics)
    return loss.reconstruction_terms(reference, jnp.float32(reconstruction), settings)


@pytest.mark.long
def test_perfect_reconstruction_scores_zero_and_silence_one():
    tones, silence = four_tones(2048), np.zeros((4, 2048), np.float32)
    terms = jax.jit(lambda audio, reconstruction: compare(audio, reconstruction, EVERYTHING))
    assert set(terms(tones, tones)) == set(loss.RECONSTRUCTION)
    assert not any(terms(tones, tones).values())
    for name in ("l1", "l2", "spectral"):
        np.testing.assert_allclose(terms(tones, silence)[name], 1.0, rtol=1e-3)
        np.testing.assert_allclose(terms(3 * tones, silence)[name], 1.0, rtol=1e-3)
    # A tone with its sign turned is another waveform and the same spectrum.
    turned = terms(tones, -tones)
    assert float(turned["l2"]) == pytest.approx(4.0, rel=1e-3) and float(turned["l1"]) == pytest.approx(2.0, rel=1e-3)
    assert max(float(turned[name]) for name in ("spectral", "log_spectral", "mel")) < 1e-4
    slope = jax.jit(jax.jacobian(lambda y, audio: compare(audio, y, EVERYTHING)))
    for audio in (tones, silence):
        assert all(np.isfinite(gradient).all() for gradient in slope(silence, audio).values())


def test_waveform_terms_equal_numpy():
    rng = np.random.default_rng(0)
    audio, other = rng.standard_normal((2, 3, 600))
    errors = np.sort((audio - other) ** 2, axis=1)
    power = (audio**2).mean()
    for k, largest in ((1, errors[:, -1:]), (50, errors[:, -50:]), (2048, errors)):
        got = compare(audio, other, config.LossConfig(l1=1, l2=1, linf=1, linf_k=k, spectral=0))
        assert set(got) == {"l1", "l2", "linf"}
        np.testing.assert_allclose(got["l1"], np.abs(audio - other).mean() / np.abs(audio).mean(), rtol=1e-3)
        np.testing.assert_allclose(got["l2"], errors.mean() / power, rtol=1e-5)
        np.testing.assert_allclose(got["linf"], largest.mean() / power, rtol=1e-5)


def test_spectral_term_is_the_distance_over_the_power_of_the_batch():
    audio, other = np.random.default_rng(0).standard_normal((2, 2, 1500)).astype(np.float32)
    targets, produced = spectral_losses.magnitudes(audio), spectral_losses.magnitudes(other)
    want = [((x - y) ** 2).mean() / (x**2).mean() for x, y in zip(targets, produced, strict=True)]
    np.testing.assert_allclose(compare(audio, other, config.LossConfig())["spectral"], np.mean(want), rtol=1e-5)


@pytest.mark.long
def test_statistics_of_the_data_replace_those_of_the_batch():
    audio, other = np.random.default_rng(0).standard_normal((2, 2, 1500)).astype(np.float32)
    batch = data_statistics.of_audio(audio, spectral_losses.magnitudes(audio))
    factors = data_statistics.AudioStatistics(
        mean_square=2 * batch.mean_square,
        mean_abs=3 * batch.mean_abs,
        spectral_powers=(4 * batch.spectral_powers[0], 4 * batch.spectral_powers[1]),
    )
    by_batch, by_data = compare(audio, other, EVERYTHING), compare(audio, other, EVERYTHING, factors)
    for name, factor in (("l1", 3), ("l2", 2), ("linf", 2), ("spectral", 4), ("log_spectral", 1), ("mel", 1)):
        np.testing.assert_allclose(by_batch[name], factor * by_data[name], rtol=1e-5)


def test_terms_of_weight_zero_are_neither_computed_nor_logged(small):
    _, functional, weights = small
    settings = config.LossConfig(l1=0.5, l2=0, spectral=0, commitment=0)

    @jax.jit
    def evaluate(weights, audio):
        model = functional.bind(*weights)
        return loss.vqvae_loss(model, audio, settings, jax.random.key(0), train=False)

    audio = four_tones(256)  # too short for a spectrum
    value, metrics = evaluate(weights, audio)
    assert {name for name in metrics if name.startswith("top/")} == {
        f"top/{name}" for name in ("l1", "latent_power", "usage", "perplexity", "dead", loss.SHARES)
    }
    np.testing.assert_allclose(value, sum(0.5 * metrics[f"{tier}/l1"] for tier in TIERS), rtol=1e-6)
    assert "fft" not in str(jax.make_jaxpr(evaluate)(weights, audio))


def test_a_clip_too_short_for_its_terms_is_an_error(small):
    _, functional, weights = small
    with pytest.raises(ValueError, match="256 samples is too short for a spectral loss"):
        loss.vqvae_loss(functional.bind(*weights), four_tones(256), config.LossConfig(), jax.random.key(0), train=False)


def test_codebook_loss_is_a_term_where_the_quantizer_has_one(small):
    settings, _, _ = small
    learned = dataclasses.replace(settings, quantizer=dataclasses.replace(settings.quantizer, kind="gradient"))
    functional = modules.Functional(lambda rngs: vqvae.VQVAE(learned, rngs=rngs))
    weights = random_weights(functional)

    @jax.jit
    def evaluate(weights, audio):
        model, terms = functional.bind(*weights), config.LossConfig(l2=1, spectral=0, commitment=0.25, codebook=2.0)
        return loss.vqvae_loss(model, audio, terms, jax.random.key(0), train=False)

    value, metrics = evaluate(weights, four_tones(256))
    parts = [
        metrics[f"{tier}/l2"] + 0.25 * metrics[f"{tier}/commitment"] + 2.0 * metrics[f"{tier}/codebook"]
        for tier in TIERS
    ]
    np.testing.assert_allclose(value, sum(parts), rtol=1e-5)


def test_usage_equals_numpy():
    codes = np.random.default_rng(0).choice([0, 1, 5, 9], size=(3, 50), p=[0.5, 0.25, 0.2, 0.05])
    shares = np.bincount(codes.ravel(), minlength=16) / codes.size
    hit = shares[shares > 0]
    got = loss.usage(loss.code_shares(jnp.asarray(codes)[..., None], 16))
    assert float(got["usage"]) == 4 / 16 and int(got["dead"]) == 12
    np.testing.assert_allclose(got["perplexity"], np.exp(-(hit * np.log(hit)).sum()), rtol=1e-5)
    uniform = loss.usage(loss.code_shares(jnp.arange(64).reshape(4, 16, 1) % 16, 16))
    assert float(uniform["perplexity"]) == pytest.approx(16, rel=1e-5) and int(uniform["dead"]) == 0


@pytest.mark.slow
def test_four_tones_are_learned(small, gradients):
    _, _, (params, buffers) = small
    tones, optimizer = four_tones(), optax.adam(3e-3)
    opt_state, history = optimizer.init(params), []
    apply = jax.jit(lambda p, s, g: (lambda u, s: (optax.apply_updates(p, u), s))(*optimizer.update(g, s, p)))
    for index in range(80):
        value, metrics, buffers, grads = gradients(params, buffers, tones, index)
        params, opt_state = apply(params, opt_state, grads)
        history.append(float(value))
    assert np.mean(history[-5:]) < 0.35 * history[0], history[::10]
    for tier in TIERS:
        assert float(metrics[f"{tier}/l2"]) < 0.3, "worse than half way from silence"
        assert float(metrics[f"{tier}/usage"]) > 0.2


def test_usage_of_several_batches_is_that_of_their_codes_together():
    codes = np.random.default_rng(0).integers(0, 9, (3, 20, 2))
    shares = [np.asarray(loss.code_shares(jnp.asarray(batch), 12), np.float64) for batch in codes]
    found = loss.summarize({"loss": 2.0, f"top/{loss.SHARES}": sum(shares) / 3})
    expected = loss.usage(loss.code_shares(jnp.asarray(codes), 12))
    assert found.keys() == {"loss", "top/usage", "top/perplexity", "top/dead"} and found["loss"] == 2.0
    for name, value in expected.items():
        np.testing.assert_allclose(found[f"top/{name}"], value, rtol=1e-5)
