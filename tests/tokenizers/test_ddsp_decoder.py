"""The synthesizer as decoder: three kinds of decoder, a window that sounds as in the whole, training end to end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import SAMPLE_RATE, random_weights, tones
from tiny_layouts import TIERS

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers.vqvae import ddsp_decoder, margins, vqvae, vqvae_tokenizer

SETTINGS = config.DDSPConfig(
    width=8, depth=2, num_voices=3, num_harmonics=4, num_noise_bands=9, num_formants=2, reverb_seconds=0.05
)


def with_decoder(tiny: config.VQVAEConfig, decoder: str) -> config.VQVAEConfig:
    settings = dataclasses.replace(tiny, decoder=decoder, ddsp=SETTINGS)
    settings.validate()
    return settings


def synthesizer(hop_length: int, code_width: int = 8) -> tuple[modules.Functional, modules.Tree]:
    """The synthesizer of one tier, with random weights that make every part of it sound."""
    functional = modules.Functional(
        lambda rngs: ddsp_decoder.DDSPDecoder(
            SETTINGS, code_width, hop_length, SAMPLE_RATE, dtype=jnp.float32, rngs=rngs
        )
    )
    params, _ = random_weights(functional)
    params["controls_of"]["kernel"] *= 20
    params["echoes"] *= 5000
    return functional, params


@pytest.mark.parametrize("decoder", ["conv", "ddsp", "conv+ddsp"])
def test_a_tier_has_the_parts_that_the_config_names(tiny_vqvae_config, decoder):
    functional = modules.Functional(lambda rngs: vqvae.VQVAE(with_decoder(tiny_vqvae_config, decoder), rngs=rngs))
    parts = set(functional.abstract_params["top"]) - {"encoder", "quantizer"}
    assert parts == {"conv": {"decoder"}, "ddsp": {"ddsp"}, "conv+ddsp": {"decoder", "ddsp"}}[decoder]


def test_the_sum_of_both_is_the_sum_of_each(tiny_vqvae_config):
    both = modules.Functional(
        lambda rngs: vqvae.TierVQVAE(with_decoder(tiny_vqvae_config, "conv+ddsp"), "top", rngs=rngs)
    )
    params, buffers = random_weights(both)
    latents = np.random.default_rng(0).standard_normal((2, 12, 8)).astype(np.float32)

    @jax.jit
    def parts(params, buffers, latents):
        model = both.bind(params, buffers)
        return model.reconstruct(latents, 5), model.decoder(latents), model.ddsp(latents, 5)

    total, convolved, synthesized = parts(params, buffers, latents)
    np.testing.assert_allclose(total, convolved + synthesized, atol=1e-6)
    assert float(jnp.abs(synthesized).max()) > 1e-4


@pytest.mark.long
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("decoder", ["ddsp", "conv+ddsp"])
def test_a_file_in_windows_is_the_whole_file(tiny_vqvae_config, tier, decoder):
    settings = with_decoder(tiny_vqvae_config, decoder)
    functional = modules.Functional(lambda rngs: vqvae.VQVAE(settings, rngs=rngs))
    params, buffers = random_weights(functional)
    buffers[tier]["quantizer"]["entries"] = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    params[tier]["ddsp"]["controls_of"]["kernel"] *= 4
    params[tier]["ddsp"]["echoes"] *= 400
    model = vqvae_tokenizer.VQVAETokenizer(settings, params, buffers)
    margin = margins.of_decoder(settings, tier)
    num_samples = 3 * margin.smallest_window + 128
    codes = np.random.default_rng(1).integers(0, 16, (num_samples // settings.hop_lengths[tier], 1)).astype(np.int16)
    whole = np.asarray(model._decode(model._weights, codes[None].astype(np.int32), 0, tier=tier))[0]
    blocks = list(model.decode_blocks(codes, tier, window_seconds=0.1))
    assert len(blocks) > 2
    assert 0.1 < np.abs(whole).max() < 4
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)


SEMITONES = dataclasses.replace(
    SETTINGS, oscillators="semitones", num_voices=50, num_harmonics=1, num_formants=0, reverb_seconds=0.0
)


def tones_of_semitones() -> tuple[modules.Functional, modules.Tree]:
    functional = modules.Functional(
        lambda rngs: ddsp_decoder.DDSPDecoder(SEMITONES, 8, 128, SAMPLE_RATE, dtype=jnp.float32, rngs=rngs)
    )
    return functional, jax.tree.map(jnp.zeros_like, random_weights(functional)[0])


def test_a_semitone_runs_on_as_one_sine():
    """Amplitudes that stand still: no frame, and no window, is heard to begin."""
    functional, params = tones_of_semitones()
    raw = np.full(SEMITONES.num_voices + SEMITONES.num_noise_bands, -40.0, np.float32)
    raw[69 - ddsp_decoder.LOWEST_PITCH] = 10.0
    params["controls_of"]["bias"] = jnp.asarray(raw)
    play = jax.jit(lambda params, start: functional.bind(params, {})(jnp.zeros((1, 40, 8)), start)[0])
    audio, later = np.asarray(play(params, 0)), np.asarray(play(params, 1_000_000))
    inside = slice(3 * 128, -3 * 128)  # at its ends a piece fades
    for first, found in ((0, audio), (1_000_000, later)):
        times = (first * 128 + np.arange(40 * 128) + 0.5) / SAMPLE_RATE
        amplitude = ddsp_decoder.HARMONICS * np.log1p(np.exp(7.0))
        np.testing.assert_allclose(found[inside], (amplitude * np.cos(2 * np.pi * 440 * times))[inside], atol=2e-3)


def test_what_is_turned_off_has_no_parameters():
    _, params = tones_of_semitones()
    assert set(params) == {"project", "stack", "controls_of"}
    assert params["controls_of"]["bias"].shape == (SEMITONES.num_voices + SEMITONES.num_noise_bands,)


def test_nothing_beyond_the_receptive_field_is_heard():
    functional, params = synthesizer(hop_length=32)
    before, after = ddsp_decoder.receptive_field(SETTINGS, 32, SAMPLE_RATE)
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((1, 4 * (before + after) // 128 * 4, 8)).astype(np.float32)
    changed = latents.copy()
    middle = latents.shape[1] // 2 // 4 * 4
    changed[:, middle : middle + 4] = rng.standard_normal((1, 4, 8))  # the codes of one frame
    play = jax.jit(lambda params, latents: functional.bind(params, {})(latents)[0])
    difference = np.abs(play(params, latents) - play(params, changed))
    first, last = middle * 32, (middle + 4) * 32
    loudest = difference.max()
    assert loudest > 1e-3
    heard = np.flatnonzero(difference > 1e-5 * loudest)
    assert heard[0] >= first - after and heard[-1] < last + before


def test_noise_depends_on_the_position_and_in_training_on_the_key():
    functional, params = synthesizer(hop_length=128)
    latents = np.random.default_rng(0).standard_normal((2, 40, 8)).astype(np.float32)
    latents[1] = latents[0]
    play = jax.jit(lambda *arguments: functional.bind(params, {})(latents, *arguments))
    at_start, later = np.asarray(play(0)), np.asarray(play(10))
    np.testing.assert_array_equal(at_start[0], at_start[1])
    assert np.abs(at_start - later).max() > 1e-4
    drawn = np.asarray(play(0, jax.random.key(0)))
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-4
    assert not np.array_equal(drawn, np.asarray(play(0, jax.random.key(1))))


def test_gradients_are_finite_at_silence():
    functional, params = synthesizer(hop_length=128)
    silent = jax.tree.map(np.zeros_like, params)
    play = lambda params: jnp.sum(functional.bind(params, {})(jnp.zeros((1, 16, 8))) ** 2)  # noqa: E731
    for weights in (silent, params):
        gradients = jax.jit(jax.grad(play))(weights)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_it_learns_to_sing_a_melody():
    """From projections of the waveform's own frames as latents, by a network 8 channels wide; silence scores 1."""
    functional, _ = synthesizer(hop_length=128, code_width=64)
    params, _ = functional.init(jax.random.key(0))
    audio = np.stack([tones(i, 128 * 32) for i in range(4)])
    latents = jax.random.normal(jax.random.key(1), (128, 64)) / 8
    features = audio.reshape(4, 32, 128) @ latents
    tx = optax.adam(1e-2)

    def error(params):
        produced = functional.bind(params, {})(features)
        return jnp.mean((produced - audio) ** 2) / jnp.mean(audio**2)

    @jax.jit
    def update(params, state):
        value, gradients = jax.value_and_grad(error)(params)
        updates, state = tx.update(gradients, state)
        return optax.apply_updates(params, updates), state, value

    state = tx.init(params)
    errors = []
    for _ in range(200):
        params, state, value = update(params, state)
        errors.append(float(value))
    assert errors[0] > 0.9 and errors[-1] < 0.6, errors[::30]


def test_a_long_file_of_codes_that_are_no_whole_frames_is_refused(tiny_vqvae_config):
    settings = with_decoder(tiny_vqvae_config, "ddsp")
    functional = modules.Functional(lambda rngs: vqvae.VQVAE(settings, rngs=rngs))
    model = vqvae_tokenizer.VQVAETokenizer(settings, *random_weights(functional))
    with pytest.raises(ValueError, match=r"99999 codes of bottom: .* takes them 16 at a time"):
        model.decode_blocks(np.zeros((99999, 1), np.int16), "bottom")


def test_codes_that_are_no_whole_frames_are_refused():
    functional, params = synthesizer(hop_length=32)
    with pytest.raises(ValueError, match="10 codes are not a whole number of frames of 4 codes each"):
        functional.bind(params, {})(np.zeros((1, 10, 8), np.float32))


def test_every_stream_has_whole_frames_of_the_synthesizer(tiny_vqvae_config):
    """A stream between the longest and the shortest counts too: frames of 48 samples are no whole ones of 32."""
    top = config.TierConfig(downsampling=(6,), strides=(2, 2, 2, 2, 2, 3), width=8, depth=1)

    def settings(hop_length: int) -> config.VQVAEConfig:
        return dataclasses.replace(
            tiny_vqvae_config, top=top, decoder="ddsp", ddsp=config.DDSPConfig(hop_length=hop_length)
        )

    for hop_length, numbers in ((96, [1, 3, 12]), (32, [1, 1, 4]), (16, [1, 1, 2])):
        settings(hop_length).validate()
        assert [margins.frames_together(settings(hop_length), tier) for tier in TIERS] == numbers
    with pytest.raises(ValueError, match=r"ddsp\.hop_length=48: .* multiple of all .*; the streams have 96, 32, 8"):
        settings(48).validate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": "wavenet"}, "decoder='wavenet': must be one of"),
        ({"decoder": "ddsp", "ddsp": config.DDSPConfig(hop_length=96)}, "ddsp.hop_length=96: must divide"),
        ({"decoder": "ddsp", "ddsp": config.DDSPConfig(num_voices=0)}, "ddsp.num_voices=0: must be at least 1"),
    ],
)
def test_bad_settings_are_refused(tiny_vqvae_config, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(tiny_vqvae_config, **changes).validate()
