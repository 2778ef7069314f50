"""MusicGen as a setting of the prior: against numbers of transformers, and every identity of a prior."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_musicgen
import tiny_priors

from musicgen_jax import config, kinds
from musicgen_jax.codes import patterns
from musicgen_jax.priors import trained
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import decode, logit_filters

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "musicgen.npz"  # `test_musicgen_parity.py` wrote it
CASES = {
    "masked": tiny_musicgen.model_config(),
    "zeros": tiny_musicgen.model_config(text_padding="zeros"),
    "stereo": tiny_musicgen.model_config(num_codebooks=8, pattern="stereo_delay", context=4),
    "melody": tiny_musicgen.melodic(),
}
OWN = tiny_musicgen.model_config(
    labels=("genre",), vocabularies={"genre": ("unknown", "oboe")}, score=True, score_notes=6, timing=True
)


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """(name, trained, a batch)."""
    model = CASES[request.param]
    return request.param, tiny_musicgen.trained(model), tiny_musicgen.batch(model)


def test_logits_are_those_of_transformers(case):
    name, prior, batch = case
    stored = np.load(GOLDEN)
    assert stored[name].std() > 0.3
    np.testing.assert_allclose(tiny_musicgen.logits(prior, batch), stored[name], atol=2e-5)
    untold = tiny_musicgen.logits(prior, tiny_musicgen.untold(batch))
    np.testing.assert_allclose(untold, stored[f"{name}_untold"], atol=2e-5)


def test_a_hidden_caption_is_an_empty_one(case):
    _, prior, batch = case
    module = prior.functional.bind(*prior.weights)
    hidden = module.condition(batch, {"text": jnp.array([True, True])})
    untold = tiny_musicgen.untold(batch)
    if "chroma" in batch:
        untold |= {"chroma": 0 * batch["chroma"]}
    jax.tree.map(np.testing.assert_array_equal, hidden, module.condition(untold))


@pytest.mark.long
def test_cached_steps_equal_the_full_pass(case):
    _, prior, batch = case
    settings = prior.config
    pattern = patterns.of(settings.pattern, settings.context, settings.num_codebooks)
    placed = jnp.pad(pattern.placed(batch["codes"], -1), ((0, 0), (1, 0), (0, 0)), constant_values=-1)
    expected = np.asarray(pattern.placed(tiny_musicgen.logits(prior, batch), 0))

    @jax.jit
    def steps(weights, batch):
        module = prior.functional.bind(*weights)
        condition = module.condition(batch)
        caches, layers, rows = module.prefill(batch["codes"], condition), module.stack.unstacked(), []
        for position in map(jnp.int32, range(2, settings.num_steps)):
            row, caches = module.step(layers, placed[:, position], condition.at(position), caches, position)
            rows.append(row)
        return jnp.stack(rows, axis=1)

    got = np.asarray(steps(prior.weights, batch)).reshape(expected[:, 2:].shape)
    exists = pattern.frames[2:] >= 0
    np.testing.assert_allclose(got[:, exists], expected[:, 2:][:, exists], atol=1e-5)


def draws(model: config.MusicgenConfig, size: int, guidance: float = 1.0) -> tuple:
    """Arguments of a decoding loop behind the batch: the whole window, greedily."""
    settings = logit_filters.Settings(
        temperature=np.ones((size, model.context), np.float32),
        top_p=np.ones(size, np.float32),
        top_k=np.ones(size, np.int32),
        guidance=np.full(size, guidance, np.float32),
    )
    zero, whole = np.zeros(size, np.int32), np.full(size, model.context, np.int32)
    return zero, whole, jax.random.split(jax.random.key(0), size), zero, settings


@pytest.mark.long
@pytest.mark.parametrize("cache_dtype", config.CACHE_DTYPES)
def test_the_loop_draws_what_the_full_pass_predicts(case, cache_dtype):
    _, prior, batch = case
    sample = decode.make_sample_window(prior.functional, cache_dtype, ("text",))
    codes = np.asarray(sample(prior.weights, batch, *draws(prior.config, 2)))
    predicted = tiny_musicgen.logits(prior, batch | {"codes": codes}).argmax(axis=-1)
    agreeing = np.mean(predicted == codes)
    assert agreeing == 1 if cache_dtype == "compute" else agreeing > 0.9


@pytest.mark.long
def test_guidance_tells_the_caption_more():
    model = CASES["masked"]
    prior, batch = tiny_musicgen.trained(model), tiny_musicgen.batch(model)
    sample = decode.make_sample_window(prior.functional, guide_by=("text",))
    codes = np.asarray(sample(prior.weights, batch, *draws(model, 2, guidance=3.0)))
    told = tiny_musicgen.logits(prior, batch | {"codes": codes})
    untold = tiny_musicgen.logits(prior, tiny_musicgen.untold(batch) | {"codes": codes})
    np.testing.assert_array_equal((untold + 3 * (told - untold)).argmax(axis=-1), codes)
    assert (told.argmax(axis=-1) != codes).any()


@pytest.mark.long
def test_labels_score_and_timing_are_heard():
    prior = tiny_musicgen.trained(OWN)
    arrays = tiny_musicgen.batch(OWN) | {
        "notes": tiny_priors.notes(np.random.default_rng(0), 2, 0.6),
        "scored": np.ones(2, bool),
    }
    before = tiny_musicgen.logits(prior, arrays)
    changes = {
        "labels": np.ones((2, 1), np.int32),
        "notes": arrays["notes"] + np.array([1, 0, 0, 0, 0], np.float32),
        "start": np.full(2, 10, np.int32),
        "text": arrays["text"][:, ::-1] + 1,
    }
    for name, value in changes.items():
        assert np.abs(tiny_musicgen.logits(prior, arrays | {name: value}) - before).max() > 0.01, name


@pytest.mark.long
def test_a_training_step_learns():
    run = config.MusicgenTraining(model=tiny_musicgen.model_config(text_dropout=0.3), data=config.DataConfig(path="x"))
    run.data.batch_size = 2
    task = kinds.task(run)
    batch = tiny_musicgen.batch(run.model)
    assert {name: leaf.shape for name, leaf in task.batch.items()} == {name: x.shape for name, x in batch.items()}
    params, buffers = jax.jit(task.functional.init)(jax.random.key(0))

    @jax.jit
    def loss(params):
        return task.loss(task.functional.bind(params, buffers), batch, jax.random.key(1), True)[0]

    first, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert 0.5 * np.log(16) < first < 2 * np.log(16)
    assert loss(jax.tree.map(lambda x, g: x - 0.05 * g, params, gradient)) < first


class Encoder:
    """A text encoder of letters: a vector a letter."""

    fingerprint = "letters"

    def encode(self, texts):
        size = max(max(map(len, texts)), 1)
        states = np.zeros((len(texts), size, tiny_musicgen.TEXT_WIDTH), np.float32)
        for row, one in enumerate(texts):
            states[row, : len(one), 0] = [ord(letter) for letter in one]
        return states, np.arange(size) < np.array([[len(one)] for one in texts])


def test_captions_become_arrays():
    batch = {"codes": np.zeros((2, 6, 4), np.int32), "start": np.zeros(2, np.int32), "length": np.full(2, 9, np.int32)}
    words = [trained.Words(text="ab"), trained.Words()]
    prior = tiny_musicgen.trained(CASES["masked"])
    for model, size in ((CASES["masked"], trained.CAPTION_STEP), (CASES["zeros"], 2)):
        prior = trained.TrainedPrior(model, prior.functional, prior.weights, "", text_encoder=Encoder())
        told = prior.told(batch, words)
        assert told["text"].shape == (2, size, tiny_musicgen.TEXT_WIDTH)
        np.testing.assert_array_equal(told["text"][:, :2, 0], [[97, 98], [0, 0]])
        np.testing.assert_array_equal(told["text_mask"].sum(axis=1), [2, 0])
    longer = prior.told(batch, [trained.Words(text="ab", beside=("abc",))] * 2)
    assert longer["text"].shape[1] == 3, "what is made together is filled up together"


def test_a_melody_is_of_the_windows_own_time():
    prior = tiny_musicgen.trained(CASES["melody"])
    prior = type(prior)(prior.config, prior.functional, prior.weights, "", melody=np.arange(6))
    batch = {"codes": np.zeros((2, 6, 4), np.int32), "length": np.full(2, 9, np.int32)}
    told = prior.told(batch | {"start": np.array([0, 3], np.int32)}, [trained.Words()] * 2)
    # Four frames of 0.15 s; the second window begins at 0.3 s.
    np.testing.assert_array_equal(told["chroma"], [[0, 1, 2, 3], [2, 3, 4, 5]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_padding": "none"}, "model.text_padding='none': must be one of masked, zeros"),
        ({"melody": True}, "model.chroma_frames=0: must be at least 1"),
        ({"melody": True, "chroma_frames": 4, "lyrics": True}, "no other condition is a memory"),
        ({"pattern": "stereo_delay", "num_codebooks": 3}, "the 3 codebooks of a frame are not those of two channels"),
        ({"guidance": -1.0}, "model.guidance=-1.0: must be at least 0"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(UserError, match=message):
        tiny_musicgen.model_config(**changes).validate()


def test_melodies_are_not_trained():
    run = config.MusicgenTraining(model=tiny_musicgen.melodic(), data=config.DataConfig(path="somewhere"))
    with pytest.raises(UserError, match=r"model.melody=True: files of codes hold no melodies"):
        run.validate()
