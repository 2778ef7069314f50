"""The Descript audio codec: windows are the whole, exactly as far as it looks, and fewer codebooks decode too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_dac
from conftest import SAMPLE_RATE, tones
from flax import nnx

from musicgen_jax import config
from musicgen_jax.codes.layout import Stream
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.tokenizers import chunked
from musicgen_jax.tokenizers.dac import dac, dac_tokenizer, layers

HOP, NUM_CODEBOOKS = tiny_dac.HOP, tiny_dac.NUM_CODEBOOKS
WINDOW_SECONDS = 1.0


@pytest.fixture(scope="module")
def tokenizer() -> dac_tokenizer.DACTokenizer:
    return tiny_dac.tokenizer()


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return np.random.default_rng(0).integers(0, tiny_dac.NUM_CODES, (400, NUM_CODEBOOKS)).astype(np.int16)


def test_layout(tokenizer):
    assert tokenizer.layout.streams == (Stream("codes", HOP, NUM_CODEBOOKS, tiny_dac.NUM_CODES),)
    assert {name: books.shape for name, books in tokenizer.codebooks().items()} == {
        "codes": (NUM_CODEBOOKS, tiny_dac.NUM_CODES, 12)
    }


@pytest.mark.long
@pytest.mark.parametrize("length", [1, 40, 3 * SAMPLE_RATE + 77])
def test_encoding_in_windows_equals_the_whole(tokenizer, length):
    audio = tones(3, length)
    blocks = iter([audio[start : start + 1000] for start in range(0, length, 1000)])
    codes = tokenizer.encode(blocks, WINDOW_SECONDS)["codes"]
    want = np.asarray(tokenizer.encoder(100.0).run(np.pad(audio, (0, -length % HOP))[None])["codes"])[0]
    assert codes.dtype == np.int16 and codes.shape == (-(-length // HOP), NUM_CODEBOOKS)
    np.testing.assert_array_equal(codes, want)
    if length > SAMPLE_RATE:
        assert min(len(np.unique(codes[:, q])) for q in range(NUM_CODEBOOKS)) > 4, "too few to mean much"


@pytest.mark.long
@pytest.mark.parametrize("number", [1, NUM_CODEBOOKS])
def test_the_first_codebooks_decode_in_windows_as_in_the_whole(tokenizer, codes, number):
    got = tokenizer.decode(codes[:, :number], "codes", WINDOW_SECONDS)
    want = tokenizer.decode(codes[:, :number], "codes", 100.0)
    assert got.shape == (400 * HOP,)
    np.testing.assert_allclose(got, want, atol=2e-6)
    assert np.abs(want).max() > 0.01, "silent: nothing is compared"


@pytest.mark.long
def test_too_small_a_margin_would_show(tokenizer, codes, monkeypatch):
    want = tokenizer.decode(codes, "codes", WINDOW_SECONDS)
    monkeypatch.setattr(tokenizer, "decoder_margin", lambda: chunked.Margin(HOP, HOP))
    assert np.abs(tokenizer.decode(codes, "codes", WINDOW_SECONDS) - want).max() > 1e-5


def reach(change: np.ndarray, frame: int) -> tuple[int, int]:
    """How far beside the samples of a frame something is not zero: (before, after)."""
    touched = np.flatnonzero(change)
    return frame * HOP - touched[0], touched[-1] + 1 - (frame + 1) * HOP


@pytest.mark.long
def test_the_receptive_field_is_the_reach(tokenizer):
    settings = tokenizer.config
    before, behind = dac.receptive_field(settings)
    frames, middle = 81, 40
    made = dac.DAC(settings, "codes", dtype=jnp.float32, rngs=nnx.Rngs(0))
    graph, variables = nnx.split(made)
    ones = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.01, variables)  # nothing cancels
    audio = np.full((1, frames * HOP), 1e-3, np.float32)

    def encode(audio: jax.Array) -> jax.Array:
        return nnx.merge(graph, ones).encoder(audio)[0, middle].sum()

    assert reach(np.asarray(jax.jit(jax.grad(encode))(audio))[0], middle) == (before, behind)

    def decode(latents: jax.Array, sample: jax.Array) -> jax.Array:  # before tanh, which would be flat
        decoder = nnx.merge(graph, ones).decoder
        x = decoder.first(latents)
        for block in decoder.blocks:
            x = block(x)
        return decoder.out(x)[0, sample, 0]

    needed = jax.jit(lambda sample: jax.grad(decode)(jnp.full((1, frames, 12), 1e-9), sample)[0].any(axis=-1))
    before, behind = behind + 2 * HOP, before + 2 * HOP  # of samples beside the codes that they need: mirrored
    first, last = (
        middle * HOP + before,
        (middle + 1) * HOP - 1 - behind,
    )  # samples that the frame at their side suffices
    assert [np.flatnonzero(needed(sample))[0] for sample in (first - 1, first)] == [middle - 1, middle]
    assert [np.flatnonzero(needed(sample))[-1] for sample in (last + 1, last)] == [middle + 1, middle]
    assert tokenizer.decoder_margin() == chunked.Margin(before, behind).whole(HOP)


def test_snake_is_its_formula_and_finite_at_zero():
    snake = layers.Snake(3, dtype=jnp.float32)
    snake.alpha[...] = jnp.array([0.5, 2.0, 0.0])
    x = np.linspace(-3, 3, 12, dtype=np.float32).reshape(1, 4, 3)
    want = x + np.sin(np.array([0.5, 2.0, 0.0]) * x) ** 2 / np.array([0.5, 2.0, 1.0])
    np.testing.assert_allclose(snake(x), want, atol=1e-6)


@pytest.mark.parametrize(
    ("rate", "strides", "hop", "codebooks"),
    [(44_100, (2, 4, 8, 8), 512, 9), (24_000, (2, 4, 5, 8), 320, 32), (16_000, (2, 4, 5, 8), 320, 12)],
)
def test_published_sizes(rate, strides, hop, codebooks):
    found = config.DACConfig(sample_rate=rate, strides=strides)
    found.quantizer.num_codebooks = codebooks
    found.validate()
    assert found.hop_length == hop and found.encoder_widths[-1] == 1024 and found.decoder_widths[-1] == 96


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": ()}, r"model\.strides=\(\)"),
        ({"strides": (2, 1)}, r"model\.strides=\(2, 1\)"),
        ({"decoder_width": 100}, "model.decoder_width=100: must be a multiple of 16"),
        ({"encoder_width": 0}, "model.encoder_width=0"),
        ({"sample_rate": 0}, "model.sample_rate=0"),
    ],
)
def test_sizes_that_cannot_be(changes, message):
    with pytest.raises(UserError, match=message):
        config.DACConfig(**changes).validate()
