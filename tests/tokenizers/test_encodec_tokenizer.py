"""EnCodec as a tokenizer: windows are the whole, margins are as far as it looks, the first codebooks decode too."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny_runs
from conftest import random_weights, tones

from musicgen_jax import config
from musicgen_jax.codes.layout import Stream
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.tokenizers.encodec import encodec, encodec_tokenizer, margins

HOP, NUM_CODEBOOKS = 8, 3
MODELS = {
    "non-causal": {"residual_layers": 2},
    "causal": {"causal": True, "shortcut": "convolution", "padding": "constant"},
}


def settings_of(name: str, **changes) -> config.EncodecConfig:
    made = dataclasses.replace(tiny_runs.encodec_config(), **MODELS[name] | changes)
    made.validate()
    return made


def tokenizer_of(settings: config.EncodecConfig) -> encodec_tokenizer.EncodecTokenizer:
    """Random weights; the codebooks lie on the latents of some tones."""
    functional = encodec.functional(settings)
    params, buffers = random_weights(functional)
    module = functional.bind(params, buffers)
    network = module.tier("codes")
    audio = tones(5, 200 * HOP)[None]
    latents = jax.jit(lambda params: functional.bind(params, buffers).tier("codes").encoder(audio))(params)
    network.quantizer.update(latents, np.zeros((1, 200, NUM_CODEBOOKS), np.int32), jax.random.key(0))
    return encodec_tokenizer.EncodecTokenizer(settings, params, jax.tree.map(np.asarray, functional.buffers_of(module)))


@pytest.fixture(scope="module", params=MODELS)
def model(request) -> encodec_tokenizer.EncodecTokenizer:
    return tokenizer_of(settings_of(request.param))


def test_layout(model):
    assert model.layout.streams == (Stream("codes", HOP, NUM_CODEBOOKS, 16),)
    assert {name: books.shape for name, books in model.codebooks().items()} == {"codes": (NUM_CODEBOOKS, 16, 8)}
    with pytest.raises(UserError, match="'top' is no stream of this tokenizer; it has codes"):
        model.margin("top")


@pytest.mark.parametrize("number", [1, NUM_CODEBOOKS])
def test_the_first_codebooks_decode_in_windows_as_in_the_whole(model, number):
    codes = np.random.default_rng(0).integers(0, 16, (700, NUM_CODEBOOKS)).astype(np.int16)[:, :number]
    whole = np.asarray(model._decode(model._weights, codes[None].astype(np.int32)))[0]
    np.testing.assert_allclose(model.decode(codes, "codes", 0.2), whole, atol=1e-6)
    assert np.std(whole) > 0.01 and len(model.decode(codes[:0], "codes")) == 0


@pytest.mark.parametrize("length", [1, 100, 20_000])
def test_encoding_in_windows_equals_the_whole(model, length):
    """The LSTM of random weights has forgotten all that its two seconds do not hold."""
    audio = tones(3, length)
    codes = model.encode(iter([audio[start : start + 1000] for start in range(0, length, 1000)]), 1.0)["codes"]
    whole = np.asarray(model._encode(model._weights, np.pad(audio, (0, -length % HOP))[None])["codes"])[0]
    assert codes.dtype == np.int16 and codes.shape == (-(-length // HOP), NUM_CODEBOOKS)
    np.testing.assert_array_equal(codes, whole)


@pytest.mark.parametrize("name", MODELS)
def test_margins_are_as_far_as_the_convolutions_look(name):
    """Without LSTMs a change within them is heard, one beyond is not."""
    model = tokenizer_of(settings_of(name, lstm_layers=0))
    audio, middle = tones(4, 60 * HOP), 30
    latents = {}
    margin = model.encoder_margin()
    for place in (None, *range(0, len(audio), 1)):
        changed = audio.copy()
        if place is not None:
            changed[place] += 1.0
        latents[place] = changed
    found = np.asarray(model._latents(model._weights, np.stack(list(latents.values())))["codes"])[:, middle]
    heard = [place for place, latent in zip(latents, found, strict=True) if np.abs(latent - found[0]).max() > 1e-9]
    assert heard[0] >= middle * HOP - margin.before > heard[0] - HOP
    assert heard[-1] < (middle + 1) * HOP + margin.after <= heard[-1] + HOP


@pytest.mark.parametrize("name", MODELS)
def test_a_stretch_of_codes_is_right_between_its_margins(name):
    model = tokenizer_of(settings_of(name, lstm_layers=0))
    codes = np.random.default_rng(1).integers(0, 16, (90, NUM_CODEBOOKS)).astype(np.int16)
    margin, first, stop = model.margin("codes"), 20, 60
    assert margin == margins.of_decoder(model.config)
    whole = model.decode(codes, "codes")[first * HOP : stop * HOP]
    alone = model.decode(codes[first:stop], "codes")
    right = np.flatnonzero(np.abs(alone - whole) < 1e-6)
    inside = np.arange(margin.before, len(alone) - margin.after)
    assert len(inside) > 50 and set(inside) <= set(right) and len(right) < len(alone)


def test_what_is_no_stream_is_refused():
    for changes in ({"channels": 2}, {"normalize": True}, {"chunk_seconds": 1.0}, {"norm": "time_group"}):
        with pytest.raises(UserError, match="load_encodec"):
            encodec_tokenizer.layout_of(settings_of("causal", **changes), "x")


def test_values_that_cannot_be():
    for changes, message in (
        ({"strides": ()}, "model.strides"),
        ({"strides": (1, 4)}, "model.strides"),
        ({"filters": 5}, "multiple of model.compress"),
        ({"channels": 3}, "model.channels=3"),
        ({"padding": "edge"}, "must be one of reflect, constant"),
        ({"trim_right": 2.0}, "model.trim_right"),
        ({"chunk_overlap": 1.0}, "model.chunk_overlap"),
    ):
        with pytest.raises(UserError, match=message):
            settings_of("causal", **changes)
