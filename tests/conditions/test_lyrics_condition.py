"""The characters around a window as a memory: what of them is heard, and what stands where nobody knows them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors
from flax import nnx

from musicgen_jax.codes import lyric_windows
from musicgen_jax.conditions.lyrics import TIME_FEATURES, Lyrics
from musicgen_jax.data import lyrics
from musicgen_jax.transformer import stack

MODEL = tiny_priors.model_config(
    lyrics=True, lyrics_dropout=0.2, lyrics_margin=0.5, lyric_tokens=16, characters=tuple("\n abcl")
)
ALIGNED = dataclasses.replace(MODEL, lyrics_aligned=True)
SUNG = lyrics.parse("[00:00.00]la lb\n[00:00.60]lc\n[00:01.50]a", 2.0)  # ends when the last margin does


def batch(*pieces: lyrics.Lyrics | None, begin: float = 0.0) -> dict[str, np.ndarray]:
    same = tiny_priors.batch(MODEL, 1)
    arrays = {name: np.repeat(array, len(pieces), axis=0) for name, array in same.items()}
    return arrays | lyric_windows.of_windows(MODEL, pieces, [begin] * len(pieces))


@functools.cache
def prior():
    trained = tiny_priors.trained_prior(MODEL)
    model = trained.functional.bind(*trained.weights)
    told = jax.jit(lambda batch, hidden: model.condition(batch, {"lyrics": hidden}))
    return jax.jit(model), told


def logits(*pieces: lyrics.Lyrics | None, **arrays) -> np.ndarray:
    return np.asarray(prior()[0](batch(*pieces) | arrays))


def test_other_words_and_other_times_give_other_logits():
    later = lyrics.Lyrics(SUNG.text, SUNG.times + np.float32(0.1))
    others = lyrics.Lyrics(SUNG.text.replace("c", "b"), SUNG.times)
    beyond = lyrics.Lyrics(SUNG.text, SUNG.times + np.float32(50))  # an interlude
    found = logits(SUNG, SUNG, later, others, beyond, None)
    np.testing.assert_array_equal(found[0], found[1])
    for first in range(1, 6):
        for second in range(first + 1, 6):
            assert np.abs(found[first] - found[second]).max() > 1e-3, (first, second)


def test_what_fills_up_changes_nothing():
    short, long = batch(SUNG), batch(SUNG)
    long["lyrics"] = np.pad(long["lyrics"], ((0, 0), (0, 16)), constant_values=-1)
    long["lyric_times"] = np.pad(long["lyric_times"], ((0, 0), (0, 16)), constant_values=7)
    np.testing.assert_allclose(prior()[0](long), prior()[0](short), atol=2e-5)


def test_hidden_words_are_unknown_words():
    hidden = prior()[1](batch(SUNG, SUNG), np.array([True, False]))
    unknown = prior()[1](batch(None, SUNG), np.array([False, False]))
    np.testing.assert_array_equal(hidden.memory_mask, unknown.memory_mask)
    assert hidden.memory_mask[0].sum() == 1 and hidden.memory_mask[1].sum() == len(SUNG)  # but the last
    for name in ("memory", "added"):
        masked = [getattr(one, name) for one in (hidden, unknown)]
        if name == "memory":
            masked = [np.where(hidden.memory_mask[..., None], one, 0) for one in masked]
        np.testing.assert_array_equal(*masked)


def test_an_unknown_character_has_a_vector_of_its_own():
    strange, other = (lyrics.Lyrics(SUNG.text.replace("c", one), SUNG.times) for one in "xy")
    found = logits(SUNG, strange, other)
    np.testing.assert_array_equal(found[1], found[2])
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_a_batch_has_the_shapes_that_the_task_names():
    from musicgen_jax import config, kinds

    task = kinds.task(config.PriorTraining(model=MODEL, data=config.DataConfig(batch_size=2)))
    arrays = batch(SUNG, None)
    assert {name: (one.shape, one.dtype) for name, one in task.batch.items()} == {
        name: (array.shape, array.dtype) for name, array in arrays.items()
    }


@pytest.mark.parametrize("begin", [0.0, 0.4])
def test_times_are_those_of_the_window(begin):
    """A window that begins later is told of the same characters so much earlier."""
    found = batch(SUNG, begin=begin)
    there = found["lyrics"][0] >= 0
    np.testing.assert_allclose(found["lyric_times"][0][there] / 10 + begin, SUNG.times[: there.sum()], atol=1e-5)


@functools.cache
def aligned():
    return Lyrics(ALIGNED, rngs=nnx.Rngs(0))


def sung(*pieces: lyrics.Lyrics | None, begin: float = 0.0) -> np.ndarray:
    """What frames are told of what is sung in them: what is added, but for where they lie."""
    condition = aligned()
    frames = condition._at(jnp.arange(ALIGNED.context, dtype=jnp.float32))
    return np.asarray(condition(batch(*pieces, begin=begin)).added - frames)


@pytest.mark.long
def test_each_frame_is_told_the_character_that_is_sung_in_it():
    """As a loop over frames and characters tells it."""
    told, condition = batch(SUNG, begin=0.35), aligned()
    numbers, times = told["lyrics"][0], told["lyric_times"][0]
    table = condition.characters[...]
    embedded = jnp.where((numbers >= 0)[:, None], table[np.maximum(numbers, 0)], 0.0)
    seen = np.asarray(condition.stack(embedded[None])[0])
    kernel, bias = np.asarray(condition.sung.kernel[...]), np.asarray(condition.sung.bias[...])
    found = sung(SUNG, begin=0.35)[0]
    for frame in range(ALIGNED.context):
        latest = max((i for i in range(16) if numbers[i] >= 0 and times[i] <= frame + 0.5), default=None)
        wanted = np.zeros(kernel.shape[1])
        if latest is not None:
            age = np.asarray(stack.sinusoids(np.float32(frame + 0.5 - times[latest]), TIME_FEATURES))
            wanted = np.concatenate([seen[latest], age]) @ kernel + bias
        np.testing.assert_allclose(found[frame], wanted, atol=1e-5)


@pytest.mark.long
def test_frames_before_the_first_word_and_of_unknown_words_are_told_nothing():
    later = lyrics.Lyrics("la", np.array([0.6, 0.8], np.float32))
    found = sung(later, None, lyrics.NONE)
    before = np.arange(ALIGNED.context) + 0.5 < 6
    assert not found[0, before].any() and (np.abs(found[0, ~before]).max(axis=-1) > 0.1).all()
    assert not found[1:].any()


def test_only_an_aligned_model_has_the_layer():
    """Checkpoints of models that are not know no other parameters than they did."""
    names = set(nnx.state(Lyrics(MODEL, rngs=nnx.Rngs(0))))
    assert set(nnx.state(aligned())) - names == {"sung"}
    words, none = (prior()[1](batch(one), np.array([False])).added for one in (SUNG, None))
    np.testing.assert_array_equal(words, none)
