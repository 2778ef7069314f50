"""Windows against the whole file: the same codes and the same audio."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import SAMPLE_RATE, random_weights, tones
from tiny_layouts import TIERS

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers import batched, chunked
from musicgen_jax.tokenizers.vqvae import margins, vqvae, vqvae_tokenizer

WINDOW_SECONDS = 2.0


@pytest.fixture(scope="module")
def window(tiny_tokenizer) -> int:
    margin = margins.of_encoder(tiny_tokenizer.config)
    return chunked.window_samples(tiny_tokenizer.layout, WINDOW_SECONDS, margin)


def blocks_of(audio: np.ndarray, block_size: int):
    return iter([audio[start : start + block_size] for start in range(0, len(audio), block_size)])


def whole_file(model: vqvae_tokenizer.VQVAETokenizer, audio: np.ndarray) -> dict[str, np.ndarray]:
    """All at once, padded with zeros to a multiple of the top hop length and no further."""
    codes = model._encode(model._weights, np.pad(audio, (0, -len(audio) % 128))[None])
    return {tier: np.asarray(codes[tier])[0] for tier in TIERS}


def test_window_samples(tiny_tokenizer):
    margin, layout = chunked.Margin(512, 256), tiny_tokenizer.layout
    assert chunked.window_samples(layout, 10.0, margin) == 40064  # 40000 rounded up to a multiple of 128
    for seconds in (0.0, -1.0):
        assert chunked.window_samples(layout, seconds, margin) == margin.smallest_window == 2 * (512 + 256)
    assert chunked.window_samples(layout, 0.0, chunked.Margin(0, 0)) == 128
    for seconds in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"window_seconds=(nan|inf): must be finite"):
            chunked.window_samples(layout, seconds, margin)


def test_margins_are_whole_frames_of_the_coarsest_stream():
    settings = config.VQVAEConfig(bottom=config.TierConfig(downsampling=(3,), width=64, depth=8))
    encoder = margins.of_encoder(settings)
    assert encoder == chunked.Margin(359 * 128, 359 * 128)  # 45,935 samples of the bottom tier
    decoders = {tier: margins.of_decoder(settings, tier) for tier in TIERS}
    assert decoders["bottom"] == encoder and decoders["top"].before < encoder.before / 4
    assert all(margin.before % 128 == margin.after % 128 == 0 for margin in decoders.values())


@pytest.mark.parametrize(
    "margin", [chunked.Margin(1, 1), chunked.Margin(3, 1), chunked.Margin(0, 4), chunked.Margin(0, 0)]
)
def test_spans_cover_a_file_once_and_keep_their_margins(margin):
    for length in range(1, 60):
        window = chunked.fitting_window(length, 13, margin, 1)
        assert window == length or margin.smallest_window <= window <= 13
        kept = []
        for span in chunked.spans(length, window, margin):
            assert 0 <= span.start <= length - window
            assert span.start == 0 or span.kept_from - span.start >= margin.before
            assert span.start + window == length or span.start + window - span.kept_to >= margin.after
            kept += range(span.start, span.start + window)[span.kept()]
        assert kept == list(range(length))


@pytest.mark.parametrize("block_size", [1000, 10**6])
@pytest.mark.parametrize(
    ("windows", "rest"), [(0, 1), (0, 128), (0, 1200), (0, 3000), (0, 6500), (1, 0), (1, 1), (3, 777)]
)
def test_encoding_in_windows_equals_the_whole(tiny_tokenizer, window, windows, rest, block_size):
    audio = tones(3, windows * window + rest)
    codes = tiny_tokenizer.encode(blocks_of(audio, block_size), WINDOW_SECONDS)
    for tier, want in whole_file(tiny_tokenizer, audio).items():
        assert codes[tier].dtype == np.int16
        np.testing.assert_array_equal(codes[tier], want, err_msg=tier)
    top_codes = -(-len(audio) // 128)
    assert {tier: len(value) for tier, value in codes.items()} == {
        "top": top_codes, "middle": 4 * top_codes, "bottom": 16 * top_codes
    }  # fmt: skip
    if windows == 3:
        assert min(len(np.unique(value)) for value in codes.values()) > 8, "too few codes for this test to mean much"


def test_no_samples_no_codes(tiny_tokenizer):
    codes = tiny_tokenizer.encode(iter([]))
    assert {tier: value.shape for tier, value in codes.items()} == dict.fromkeys(TIERS, (0, 1))
    assert tiny_tokenizer.decode(codes["top"], "top").shape == (0,)


def test_too_small_a_margin_would_show(tiny_tokenizer, window):
    audio = tones(3, 3 * window + 777)
    want = whole_file(tiny_tokenizer, audio)
    encoder = tiny_tokenizer.encoder(WINDOW_SECONDS)
    assert encoder.window == window
    careless = dataclasses.replace(encoder, margin=chunked.Margin(0, 0))
    codes = next(batched.encode(careless, [careless.windows(blocks_of(audio, 1000))], 1))
    assert any(not np.array_equal(codes[tier], want[tier]) for tier in TIERS)


@pytest.mark.long
@pytest.mark.parametrize("tier", TIERS)
def test_decoding_in_windows_equals_the_whole(tiny_tokenizer, window, tier):
    hop = tiny_tokenizer.layout.stream(tier).hop_length
    size = window // hop
    for num_codes in (1, 30, size, size + 1, 3 * size + 5) if tier == "top" else (size // 2, 3 * size + 5):
        codes = np.random.default_rng(num_codes).integers(0, 16, (num_codes, 1)).astype(np.int16)
        got = tiny_tokenizer.decode(codes, tier, WINDOW_SECONDS)
        want = np.asarray(tiny_tokenizer._decode(tiny_tokenizer._weights, codes[None].astype(np.int32), 0, tier))[0]
        assert got.shape == (num_codes * hop,) and got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=1e-6)
    assert np.abs(want).max() > 0.01, "silent: nothing is compared"


def test_too_small_a_margin_of_the_decoder_would_show(tiny_tokenizer, monkeypatch):
    codes = np.random.default_rng(0).integers(0, 16, (400, 1)).astype(np.int16)
    want = np.asarray(tiny_tokenizer._decode(tiny_tokenizer._weights, codes[None].astype(np.int32), 0, "top"))[0]
    margin = tiny_tokenizer.margin("top")
    np.testing.assert_allclose(tiny_tokenizer.decode(codes, "top", WINDOW_SECONDS), want, atol=1e-6)
    less = chunked.Margin(margin.before // 2, margin.after // 2)
    monkeypatch.setattr(margins, "of_decoder", lambda settings, tier: less)
    assert np.abs(tiny_tokenizer.decode(codes, "top", WINDOW_SECONDS) - want).max() > 1e-5


def test_decoding_in_blocks_knows_where_each_window_begins():
    codes, seen = np.arange(1000, dtype=np.int16)[:, None], []

    def decode_window(part: np.ndarray, start: int) -> np.ndarray:
        seen.append(start)
        np.testing.assert_array_equal(part[0, :, 0], start + np.arange(part.shape[1]))
        return np.repeat(part[..., 0], 8, axis=1).astype(np.float32)

    blocks = list(chunked.decode(decode_window, codes, 8, chunked.Margin(256, 384), 2048))
    np.testing.assert_array_equal(np.concatenate(blocks), np.repeat(codes, 8))
    assert len(blocks) > 3 and max(map(len, blocks)) <= 2048
    assert seen[0] == 0 and seen[-1] == 1000 - 2048 // 8 and seen == sorted(seen)


@pytest.mark.long
def test_few_compiled_programs_for_tracks_of_any_length(tiny_tokenizer, tiny_vqvae_config):
    smallest = margins.of_encoder(tiny_vqvae_config).smallest_window
    model = vqvae_tokenizer.VQVAETokenizer(tiny_tokenizer.config, *tiny_tokenizer._weights)  # nothing compiled yet
    lengths = [*range(smallest, 2 * SAMPLE_RATE, 700), 5 * SAMPLE_RATE, 7 * SAMPLE_RATE + 1]
    for length in lengths:
        codes = model.encode(blocks_of(tones(0, length), 4000), WINDOW_SECONDS)
        model.decode(codes["top"], "top", WINDOW_SECONDS)
    # The usual window and its kin below it: each twice as long as the one before.
    assert model._encode._cache_size() <= 1 + np.ceil(np.log2(2 * SAMPLE_RATE / smallest)) < len(lengths) / 2
    assert model._decode._cache_size() <= 1 + np.ceil(np.log2(2 * SAMPLE_RATE / smallest))


@pytest.mark.slow
def test_the_published_sizes_in_windows_equal_the_whole():
    sizes = {"width": 32, "depth": 4}
    settings = config.VQVAEConfig(
        top=config.TierConfig(downsampling=(3, 2, 2), **sizes),
        middle=config.TierConfig(downsampling=(3, 2), **sizes),
        bottom=config.TierConfig(downsampling=(3,), width=64, depth=8),
    )
    functional = modules.Functional(lambda rngs: vqvae.VQVAE(settings, rngs=rngs))
    params, buffers = random_weights(functional)
    audio = tones(1, 7 * 44100, 44100)  # three windows: a first, a middle and a last one
    padded = np.pad(audio, (0, -len(audio) % 128))[None]
    for tier in TIERS:  # entries from the encoder's outputs, so that many codes are in use
        encode = jax.jit(lambda params, tier=tier: functional.bind(params, buffers).tier(tier).encoder(padded))
        latents = np.asarray(encode(params))[0]
        chosen = np.linspace(0, len(latents) - 1, settings.quantizer.num_codes).astype(int)
        buffers[tier]["quantizer"]["entries"] = latents[chosen]
    model = vqvae_tokenizer.VQVAETokenizer(settings, params, buffers)
    # The smallest windows there are: half of each is overlap.
    codes = model.encode(blocks_of(audio, 50000), window_seconds=0.0)
    for tier, want in whole_file(model, audio).items():
        np.testing.assert_array_equal(codes[tier], want, err_msg=tier)
        assert len(np.unique(want)) > 200
        got = model.decode(want, tier, window_seconds=0.0)
        whole = np.asarray(model._decode(model._weights, want[None].astype(np.int32), 0, tier))[0]
        np.testing.assert_allclose(got, whole, atol=1e-6)
        assert np.abs(whole).max() > 0.01, "silent: nothing is compared"


def test_the_fingerprint_tells_weights_apart(tiny_tokenizer):
    params, buffers = tiny_tokenizer._weights
    same = vqvae_tokenizer.VQVAETokenizer(tiny_tokenizer.config, params, buffers)
    assert same.fingerprint == tiny_tokenizer.fingerprint
    other = jax.tree.map(np.array, buffers)
    other["top"]["quantizer"]["entries"][0, 0] += 1e-3
    assert (
        vqvae_tokenizer.VQVAETokenizer(tiny_tokenizer.config, params, other).fingerprint != tiny_tokenizer.fingerprint
    )
