"""Chunks against the whole file: the same codes and the same audio."""

import jax
import numpy as np
import pytest
from conftest import SAMPLE_RATE, tones

from musicgen_jax import config
from musicgen_jax.vqvae import chunked

WINDOW_SECONDS = 2.0


@pytest.fixture(scope="module")
def window(tiny_vqvae_config) -> int:
    return chunked.window_samples(tiny_vqvae_config, WINDOW_SECONDS)


def blocks_of(audio: np.ndarray, block_size: int):
    return iter([audio[start : start + block_size] for start in range(0, len(audio), block_size)])


def whole_file(tokenizer, audio: np.ndarray, window: int) -> dict[str, np.ndarray]:
    """All in one window, padded with zeros to a multiple of the top hop, or to `window` if that is longer."""
    padded = -(-len(audio) // 128) * 128
    codes = tokenizer._encode(tokenizer._weights, np.pad(audio, (0, max(padded, window) - len(audio)))[None])
    return {tier: np.asarray(codes[tier])[0, : padded // hop] for tier, hop in tokenizer.config.hop_lengths.items()}


def test_window_samples(tiny_vqvae_config):
    margin = chunked.margin_samples(tiny_vqvae_config)
    assert margin % 128 == 0
    assert chunked.window_samples(tiny_vqvae_config, 10.0) == 40064  # 40000 rounded up to a multiple of 128
    for seconds in (0.0, -1.0):
        assert chunked.window_samples(tiny_vqvae_config, seconds) == 4 * margin


@pytest.mark.parametrize("block_size", [1000, 10**6])
@pytest.mark.parametrize("windows, rest", [(0, 1), (0, 3000), (1, 0), (1, 1), (3, 777)])
def test_encoding_in_chunks_equals_the_whole(tiny_tokenizer, window, windows, rest, block_size):
    audio = tones(3, windows * window + rest)
    codes = tiny_tokenizer.encode(blocks_of(audio, block_size), WINDOW_SECONDS)
    for tier, want in whole_file(tiny_tokenizer, audio, window).items():
        assert codes[tier].dtype == np.int16
        np.testing.assert_array_equal(codes[tier], want, err_msg=tier)
    top_codes = -(-len(audio) // 128)
    assert {tier: len(value) for tier, value in codes.items()} == {
        "top": top_codes, "middle": 4 * top_codes, "bottom": 16 * top_codes
    }  # fmt: skip
    if windows == 3:
        assert min(len(np.unique(value)) for value in codes.values()) > 8, "too few codes for this test to mean much"


def test_too_small_a_margin_would_show(tiny_tokenizer, window, monkeypatch):
    audio = tones(3, 3 * window + 777)
    want = whole_file(tiny_tokenizer, audio, window)
    monkeypatch.setattr(chunked, "margin_samples", lambda settings: 0)
    codes = chunked.encode(
        lambda part: tiny_tokenizer._encode(tiny_tokenizer._weights, part),
        blocks_of(audio, 1000), tiny_tokenizer.config, window,
    )  # fmt: skip
    assert any(not np.array_equal(codes[tier], want[tier]) for tier in config.TIERS)


@pytest.mark.parametrize("tier", config.TIERS)
def test_decoding_in_chunks_equals_the_whole(tiny_tokenizer, window, tier):
    hop = tiny_tokenizer.config.hop_lengths[tier]
    size = window // hop
    for num_codes in (1, size, size + 1, 3 * size + 5) if tier == "top" else (3 * size + 5,):
        codes = np.random.default_rng(num_codes).integers(0, 16, num_codes).astype(np.int16)
        got = tiny_tokenizer.decode(codes, tier, WINDOW_SECONDS)
        want = np.asarray(tiny_tokenizer._decode(tiny_tokenizer._weights, codes[None], tier))[0]
        assert got.shape == (num_codes * hop,) and got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=1e-6)
    assert np.abs(want).max() > 0.01, "silent: nothing is compared"


def test_one_compiled_program_for_tracks_of_any_length(tiny_tokenizer):
    lengths = (100, SAMPLE_RATE, 5 * SAMPLE_RATE, 7 * SAMPLE_RATE + 1)
    tiny_tokenizer.encode(blocks_of(tones(0, lengths[0]), 4000), WINDOW_SECONDS)
    compiled = tiny_tokenizer._encode._cache_size()
    for length in lengths:
        tiny_tokenizer.encode(blocks_of(tones(0, length), 4000), WINDOW_SECONDS)
    assert tiny_tokenizer._encode._cache_size() == compiled


def test_the_fingerprint_tells_weights_apart(tiny_tokenizer):
    params, buffers = tiny_tokenizer._weights
    same = type(tiny_tokenizer)(tiny_tokenizer.config, params, buffers)
    assert same.fingerprint == tiny_tokenizer.fingerprint
    other = jax.tree.map(np.array, buffers)
    other["top"]["quantizer"]["entries"][0, 0] += 1e-3
    assert type(tiny_tokenizer)(tiny_tokenizer.config, params, other).fingerprint != tiny_tokenizer.fingerprint
