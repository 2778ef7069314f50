"""Encoder and decoder of each tier: shapes, hop lengths, and the reach that `receptive_field` promises."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax import config
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.tokenizers.vqvae import decoder, encoder

CODE_WIDTH = 2
TIERS = {
    "one step": config.TierConfig(downsampling=(1,), width=2, depth=1),
    "tiny top": config.TierConfig(downsampling=(3, 2, 2), width=2, depth=2),
    "tiny bottom": config.TierConfig(downsampling=(3,), width=2, depth=2),
    "growth 2": config.TierConfig(downsampling=(1, 2), width=2, depth=3, dilation_growth=2),
    "base middle": config.TierConfig(downsampling=(3, 2), width=2, depth=4),
    "other strides": config.TierConfig(downsampling=(1, 2), strides=(3, 2, 5), width=2, depth=2),
    "base bottom": config.TierConfig(downsampling=(3,), width=2, depth=8),
}


def all_equal(build: Callable[[], nnx.Module]) -> nnx.Module:
    """All weights positive and equal, so that nothing cancels, no ReLU closes, and every path through shows."""
    module = nnx.eval_shape(build)
    nnx.update(module, jax.tree.map(lambda x: jnp.full(x.shape, 0.3), nnx.state(module, nnx.Param)))
    return module


def reach(touched: np.ndarray, middle: int, hop: int) -> tuple[int, int]:
    """How far the samples that are not zero extend before and behind code `middle`'s own."""
    indices = np.flatnonzero(touched)
    assert indices[0] > 0 and indices[-1] < len(touched) - 1, "the clip is too short to show the reach"
    return middle * hop - indices[0], indices[-1] - ((middle + 1) * hop - 1)


@pytest.mark.long
@pytest.mark.parametrize("name", list(TIERS))
def test_receptive_field_is_the_reach(name):
    tier = TIERS[name]
    hop, field = tier.hop_length, encoder.receptive_field(tier)
    assert (field[0] == field[1]) == (name != "other strides")
    frames = 2 * (-(-max(field) // hop)) + 9
    middle = frames // 2

    encode = all_equal(lambda: encoder.Encoder(tier, CODE_WIDTH, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    audio = np.full((1, frames * hop), 0.1, np.float32)
    gradient = jax.jit(jax.grad(lambda x: encode(x)[0, middle].sum()))(audio)  # the samples that a code looks at
    assert reach(np.asarray(gradient)[0], middle, hop) == field

    decode = all_equal(lambda: decoder.Decoder(tier, CODE_WIDTH, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    latents = np.full((1, frames, CODE_WIDTH), 0.1, np.float32)
    tangent = np.zeros_like(latents)
    tangent[:, middle] = 1.0
    _, change = jax.jit(lambda: jax.jvp(decode, (latents,), (tangent,)))()  # the samples that a code has a part in
    assert reach(np.asarray(change)[0], middle, hop) == (field[0] + 1, field[1] + 1), (
        "one 3-tap convolution over samples more"
    )


def test_hop_lengths_of_the_published_sizes():
    assert config.VQVAEConfig().hop_lengths == {"top": 128, "middle": 32, "bottom": 8}


@pytest.mark.long
def test_strides_of_2_are_those_of_no_strides():
    """Of parameters as of results."""
    tiers = [config.TierConfig(downsampling=(2, 1), strides=strides, width=4, depth=1) for strides in ((), (2, 2, 2))]
    audio = np.random.default_rng(0).standard_normal((1, 32)).astype(np.float32)
    for module in (encoder.Encoder, decoder.Decoder):
        made = [module(tier, CODE_WIDTH, dtype=jnp.float32, rngs=nnx.Rngs(0)) for tier in tiers]
        jax.tree.map(np.testing.assert_array_equal, *(nnx.to_pure_dict(nnx.state(one)) for one in made))
        results = [one(audio if module is encoder.Encoder else audio.reshape(1, 16, CODE_WIDTH)) for one in made]
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("strides", [(2, 2), (2, 1, 2), (2**8, 2**7, 2**7)])
def test_strides_that_do_not_fit(strides):
    with pytest.raises(ValueError, match=r"model.top.*strides="):
        config.TierConfig(downsampling=(2, 1), strides=strides).validate("top")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("downsampling", "strides"), [((3, 2, 2), ()), ((3, 2), ()), ((3,), ()), ((4,), (2, 4, 5, 8))])
def test_encoder_and_decoder_shapes(downsampling, strides, dtype):
    tier = config.TierConfig(downsampling=downsampling, strides=strides, width=2, depth=1)
    audio = jax.ShapeDtypeStruct((2, 3 * tier.hop_length), jnp.float32)
    latents = jax.eval_shape(lambda x: encoder.Encoder(tier, 5, dtype=dtype, rngs=nnx.Rngs(0))(x), audio)
    assert latents.shape == (2, 3, 5) and latents.dtype == jnp.float32
    decoded = jax.eval_shape(lambda x: decoder.Decoder(tier, 5, dtype=dtype, rngs=nnx.Rngs(0))(x), latents)
    assert decoded.shape == audio.shape and decoded.dtype == jnp.float32


SEMITONES = config.TierConfig(downsampling=(2,), strides=(8, 8), width=8, depth=1, features="semitones")


def test_semitones_are_told_apart_whatever_their_phase():
    """The sine of a semitone is loudest there, a third as loud beside it, and as loud in any other phase."""
    rate, hop = 8000, 256
    times = np.arange(16 * hop) / rate
    for pitch in (40, 57, 76, 95):
        hz = 440 * 2 ** ((pitch - 69) / 12)
        audio = np.float32([0.3 * np.sin(2 * np.pi * hz * times + phase) for phase in (0.0, 1.0, 2.0)])
        levels = np.asarray(encoder.semitone_levels(audio, hop, rate))[:, 6:10]  # no end of the clip is in the window
        place = pitch - encoder.LOWEST_PITCH
        assert np.all(np.argmax(levels, axis=-1) == place)
        loudness = np.expm1(4 * levels) / 1000
        np.testing.assert_allclose(loudness[..., place], 0.15, rtol=0.05)
        assert np.all(loudness[..., [place - 2, place + 2]] < 0.05)
    assert np.all(np.asarray(encoder.semitone_levels(np.zeros((1, 4 * hop), np.float32), hop, rate)) < 1e-3)


def test_an_encoder_of_semitones_sees_no_further_than_it_says():
    """Nor does it need more than that: whatever stands further away, the codes' vectors are the same."""
    hop, (before, behind) = SEMITONES.hop_length, encoder.receptive_field(SEMITONES)
    encode = encoder.make(SEMITONES, CODE_WIDTH, 8000, dtype=jnp.float32, rngs=nnx.Rngs(0))
    frames = 2 * -(-before // hop) + 9
    middle, audio = frames // 2, np.random.default_rng(0).normal(0, 0.1, (1, frames * hop)).astype(np.float32)
    other = np.random.default_rng(1).normal(0, 0.1, audio.shape).astype(np.float32)
    seen = slice(middle * hop - before, (middle + 1) * hop + behind)
    other[:, seen] = audio[:, seen]
    first, second = (np.asarray(encode(x))[0, middle] for x in (audio, other))
    np.testing.assert_array_equal(first, second)
    nearer = audio.copy()
    nearer[:, seen.start + hop] += 0.5
    assert not np.array_equal(np.asarray(encode(nearer))[0, middle], first)


def test_semitones_are_for_synthesizers():
    model = config.ResidualVQVAEConfig(sample_rate=8000, residual=SEMITONES)
    with pytest.raises(UserError, match=r"model.residual.features='semitones' says nothing; use decoder='ddsp'"):
        model.validate()
    with pytest.raises(UserError, match=r"model.residual.features='tones': must be one of waveform, semitones"):
        dataclasses.replace(SEMITONES, features="tones").validate("residual")
