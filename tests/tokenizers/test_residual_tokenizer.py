"""The tokenizer of one stream of several codebooks: windows are the whole, and fewer codebooks decode too."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import SAMPLE_RATE, random_weights, tones

from musicgen_jax import config
from musicgen_jax.codes.layout import Stream
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers import chunked
from musicgen_jax.tokenizers.vqvae import margins, vqvae, vqvae_tokenizer

STRIDES, HOP, NUM_CODEBOOKS = (2, 3, 5), 30, 4
WINDOW_SECONDS = 1.0


@pytest.fixture(scope="module")
def model() -> vqvae_tokenizer.VQVAETokenizer:
    """Random weights; each codebook lies on what those before it leave of the encoder's output."""
    settings = config.ResidualVQVAEConfig(
        sample_rate=SAMPLE_RATE,
        residual=config.TierConfig(downsampling=(1, 2), strides=STRIDES, width=8, depth=1),
        quantizer=config.QuantizerConfig(num_codes=16, num_codebooks=NUM_CODEBOOKS, code_width=8),
    )
    settings.validate()
    functional = modules.Functional(lambda rngs: vqvae.VQVAE(settings, rngs=rngs))
    params, buffers = random_weights(functional)
    module = functional.bind(params, buffers)

    latents = jax.jit(lambda params: functional.bind(params, buffers).tier("residual").encoder(audio))
    audio = tones(5, 200 * HOP)[None]
    quantizer = module.tier("residual").quantizer
    quantizer.update(latents(params), np.zeros((1, 200, NUM_CODEBOOKS), np.int32), jax.random.key(0))
    return vqvae_tokenizer.VQVAETokenizer(settings, params, jax.tree.map(np.asarray, functional.buffers_of(module)))


def test_layout(model):
    assert model.layout.streams == (Stream("residual", HOP, NUM_CODEBOOKS, 16),)
    assert {name: books.shape for name, books in model.codebooks().items()} == {"residual": (NUM_CODEBOOKS, 16, 8)}


@pytest.mark.parametrize("length", [1, 40, 3 * SAMPLE_RATE + 77])
def test_encoding_in_windows_equals_the_whole(model, length):
    audio = tones(3, length)
    blocks = iter([audio[start : start + 1000] for start in range(0, length, 1000)])
    codes = model.encode(blocks, WINDOW_SECONDS)["residual"]
    want = np.asarray(model._encode(model._weights, np.pad(audio, (0, -length % HOP))[None])["residual"])[0]
    assert codes.dtype == np.int16 and codes.shape == (-(-length // HOP), NUM_CODEBOOKS)
    np.testing.assert_array_equal(codes, want)
    if length > SAMPLE_RATE:
        assert min(len(np.unique(codes[:, q])) for q in range(NUM_CODEBOOKS)) > 4, "too few to mean much"


@pytest.mark.parametrize("number", [1, 2, NUM_CODEBOOKS])
def test_the_first_codebooks_decode_in_windows_as_in_the_whole(model, number):
    codes = np.random.default_rng(0).integers(0, 16, (500, NUM_CODEBOOKS)).astype(np.int16)[:, :number]
    got = model.decode(codes, "residual", WINDOW_SECONDS)
    want = np.asarray(model._decode(model._weights, codes[None].astype(np.int32), 0, "residual"))[0]
    assert got.shape == (500 * HOP,)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert np.abs(want).max() > 0.01, "silent: nothing is compared"


def test_too_small_a_margin_would_show(model, monkeypatch):
    codes = np.random.default_rng(0).integers(0, 16, (500, NUM_CODEBOOKS)).astype(np.int16)
    want = model.decode(codes, "residual", WINDOW_SECONDS)
    monkeypatch.setattr(margins, "of_decoder", lambda settings, tier: chunked.Margin(HOP, HOP))
    assert np.abs(model.decode(codes, "residual", WINDOW_SECONDS) - want).max() > 1e-5


def test_a_hop_of_other_factors_and_a_clip_that_does_not_fit():
    run = config.ResidualVQVAETraining()
    assert run.model.hop_lengths == {"residual": 320}
    run.data.path = "x"
    with pytest.raises(
        ValueError, match="clip_samples=441000: must be a positive multiple of the longest hop length 320"
    ):
        dataclasses.replace(run, clip_samples=441_000).validate()
