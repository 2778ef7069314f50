"""The objective: its terms, its behaviour at silence, and that training lowers it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_weights

from musicgen_jax import config, modules
from musicgen_jax.vqvae import loss, vqvae

TERMS = {"waveform", "spectral", "commitment", "latent_power", "usage", "perplexity", "dead"}


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


def test_terms_are_named_by_tier_and_sum_to_the_loss(small, gradients):
    _, _, weights = small
    settings = config.LossConfig()
    value, metrics, _, _ = gradients(*weights, four_tones(), 0)
    assert set(metrics) == {f"{tier}/{term}" for tier in config.TIERS for term in TERMS | {"restarts"}}
    want = sum(
        metrics[f"{tier}/waveform"]
        + settings.spectral * metrics[f"{tier}/spectral"]
        + settings.commitment * metrics[f"{tier}/commitment"]
        for tier in config.TIERS
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
    assert set(metrics) == {f"{tier}/{term}" for tier in config.TIERS for term in TERMS}
    jax.tree.map(np.testing.assert_array_equal, buffers, weights[1])


def test_silence_is_finite(small, gradients):
    for result in jax.tree.leaves(gradients(*small[2], np.zeros((4, 1024), np.float32), 0)):
        assert np.isfinite(result).all()


def test_perfect_reconstruction_scores_zero_and_silence_one():
    tones = four_tones(2048)
    for term in (jax.jit(loss.waveform_loss), jax.jit(loss.spectral_loss)):
        assert float(term(tones, tones)) == 0.0
        np.testing.assert_allclose(term(tones, np.zeros_like(tones)), 1.0, rtol=1e-4)
        np.testing.assert_allclose(term(3 * tones, np.zeros_like(tones)), 1.0, rtol=1e-4)
        gradient = jax.jit(jax.grad(term, argnums=1))(tones, jnp.zeros_like(tones))
        assert np.isfinite(gradient).all()
    # A tone with its sign turned is another waveform and the same spectrum.
    assert float(loss.waveform_loss(tones, -tones)) == pytest.approx(4.0, rel=1e-3)
    assert float(loss.spectral_loss(tones, -tones)) == pytest.approx(0.0, abs=1e-6)


def test_spectral_loss_equals_numpy():
    rng = np.random.default_rng(0)
    audio, other = rng.standard_normal((2, 2, 1500))
    want = []
    for n_fft, hop, window in loss.RESOLUTIONS[1:]:  # 2048 samples do not fit into the clip
        shape = np.zeros(n_fft)
        start = (n_fft - window) // 2
        shape[start : start + window] = np.hanning(window + 1)[:-1]
        spectra = []
        for waveform in (audio, other):
            padded = np.pad(waveform, ((0, 0), (n_fft // 2, n_fft // 2)))
            starts = range(0, padded.shape[1] - n_fft + 1, hop)
            spectra.append(np.abs([np.fft.rfft(padded[:, s : s + n_fft] * shape) for s in starts]))
        want.append(((spectra[0] - spectra[1]) ** 2).mean() / (spectra[0] ** 2).mean())
    got = loss.spectral_loss(jnp.float32(audio), jnp.float32(other))
    np.testing.assert_allclose(got, np.mean(want), rtol=1e-4)


def test_usage_equals_numpy():
    codes = np.random.default_rng(0).choice([0, 1, 5, 9], size=(3, 50), p=[0.5, 0.25, 0.2, 0.05])
    shares = np.bincount(codes.ravel(), minlength=16) / codes.size
    hit = shares[shares > 0]
    got = loss.usage(jnp.asarray(codes), 16)
    assert float(got["usage"]) == 4 / 16 and int(got["dead"]) == 12
    np.testing.assert_allclose(got["perplexity"], np.exp(-(hit * np.log(hit)).sum()), rtol=1e-5)
    uniform = loss.usage(jnp.arange(64).reshape(4, 16) % 16, 16)
    assert float(uniform["perplexity"]) == pytest.approx(16, rel=1e-5) and int(uniform["dead"]) == 0


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
    for tier in config.TIERS:
        assert float(metrics[f"{tier}/waveform"]) < 0.3, "worse than half way from silence"
        assert float(metrics[f"{tier}/usage"]) > 0.2
