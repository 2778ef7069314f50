"""The published priors: stored results of transformers' port, decoding, and what the numbers alone would not show."""

import dataclasses

import jax
import jax.numpy as jnp
import jukebox_models
import numpy as np
import pytest

from musicgen_jax.nn import modules
from musicgen_jax.priors import jukebox


@pytest.fixture(scope="module", params=jukebox_models.KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind) -> jukebox_models.Model:
    return jukebox_models.cached(kind)


def test_logits_are_those_of_the_port(kind, model):
    logits = model.logits(jukebox_models.batch_of(model.config))
    stored = np.load(jukebox_models.GOLDEN_FILE)[kind]
    np.testing.assert_allclose(logits[:, jukebox_models.GOLDEN], stored, atol=1e-4)


@pytest.mark.long
def test_steps_equal_the_whole_window(model):
    """Prefilled with the first nine codes only, and from nothing at all."""
    settings, batch = model.config, jukebox_models.batch_of(model.config)
    whole = model.codes_of(model.logits(batch))

    @jax.jit
    def decode(params, batch, start):
        prior = model.functional.bind(params, {})
        condition = prior.condition(batch)
        known = jnp.arange(settings.context)[:, None] < start
        codes = jnp.where(known, batch["codes"], 3)  # 3: anything, not yet known
        layers, caches = prior.stack.unstacked(), prior.prefill(codes, condition)

        def body(caches, position):
            previous = batch["codes"][:, jnp.maximum(position - 1, 0)]
            logits, caches = prior.step(layers, previous, condition.at(position), caches, position)
            return caches, logits

        return jax.lax.scan(body, caches, start + jnp.arange(settings.context - 9))[1]

    for start in (9, 0):
        stepped = np.swapaxes(decode(model.params, batch, start), 0, 1)
        np.testing.assert_allclose(stepped, whole[:, start : start + stepped.shape[1]], atol=1e-4)


def test_a_code_is_predicted_from_those_before_it(model):
    batch = jukebox_models.batch_of(model.config)
    kept = np.arange(model.config.context)[:, None] < 13
    changed = batch | {"codes": np.where(kept, batch["codes"], 10 - batch["codes"])}
    whole, other = (model.codes_of(model.logits(values)) for values in (batch, changed))
    np.testing.assert_allclose(other[:, :14], whole[:, :14], atol=1e-5)
    assert np.abs(other[:, 14:] - whole[:, 14:]).max() > 0.1


def test_calling_a_prior_gives_the_logits_of_codes():
    """Eleven codes; with a prefix, nine characters come before them, among positions and among tokens."""
    model = jukebox_models.Model(jukebox_models.model_config("1b_lyrics", num_layers=1))
    batch = jukebox_models.batch_of(model.config)
    joint = model.logits(batch)
    assert joint.shape == (2, 6 + 22, 9 + 11)
    np.testing.assert_array_equal(model.run(lambda prior, batch: prior(batch), batch), joint[:, 6:, None, 9:])


def test_a_short_window_is_the_beginning_of_a_long_one():
    model = jukebox_models.cached("5b")
    batch = jukebox_models.batch_of(model.config)
    short = model.logits(batch | {"codes": batch["codes"][:, :13]})
    np.testing.assert_allclose(short, model.logits(batch)[:, :13], atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("5b", "artist"),
        ("5b", "total"),
        ("5b", "offset"),
        ("upsampler_middle", "above"),
        ("upsampler_middle", "genres"),
        ("5b_lyrics", "lyrics"),
        ("1b_lyrics", "lyrics"),
    ],
)
def test_conditioning_reaches_the_logits(kind, name):
    model = jukebox_models.cached(kind)
    batch = jukebox_models.batch_of(model.config)
    other = batch | {name: batch[name] // 2 if name in ("total", "offset") else np.maximum(1 - batch[name], 0)}
    assert np.abs(model.logits(batch) - model.logits(other)).max() > 0.01


@pytest.mark.long
def test_remat_changes_no_gradient():
    settings = jukebox_models.model_config("5b", num_layers=1)
    batch, weights = jukebox_models.batch_of(settings), jukebox_models.Model(settings).params

    def program(settings):
        functional = modules.Functional(lambda rngs: jukebox.JukeboxPrior(settings, rngs=rngs))
        return jax.jit(jax.grad(lambda params: jnp.square(functional.bind(params, {})(batch)).mean())).trace(weights)

    plain, saved = (program(dataclasses.replace(settings, remat=remat)) for remat in (False, True))
    assert str(saved.jaxpr).count("remat") > str(plain.jaxpr).count("remat")
    gradients = [traced.lower().compile()(weights) for traced in (plain, saved)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *gradients)


def test_bfloat16_stays_near_float32():
    model = jukebox_models.cached("5b")
    batch = jukebox_models.batch_of(model.config)
    functional = modules.Functional(lambda rngs: jukebox.JukeboxPrior(model.config, dtype=jnp.bfloat16, rngs=rngs))
    rounded = jax.jit(lambda params: functional.bind(params, {})(batch))(model.params)
    assert rounded.dtype == jnp.float32
    assert 1e-4 < np.abs(np.asarray(rounded)[:, :, 0] - model.logits(batch)).max() < 0.5


@pytest.mark.long
def test_initial_weights_are_distributed_as_published():
    settings = jukebox_models.model_config("5b_lyrics", num_layers=1)
    settings.transformer.init_scale, settings.lyric_encoder.init_scale = 0.5, 2.0
    settings.lyric_encoder.num_layers = 1
    params, _ = modules.Functional(lambda rngs: jukebox.JukeboxPrior(settings, rngs=rngs)).init(jax.random.key(0))
    first = params["stack"]["blocks"][0]
    stds = {
        "embedding": (params["stack"]["tokens"], 0.01),
        "positions": (params["stack"]["positions"], 0.005),
        "labels": (params["labels"]["artist"], 0.005),
        "output": (params["head"], 0.01),
        "matrix": (first["attention"]["qkv"]["kernel"], 0.01),
        "lyrics": (params["lyrics"]["stack"]["blocks"][0]["hidden"]["kernel"], 0.04),
    }
    for name, (value, std) in stds.items():
        assert np.std(value) == pytest.approx(std, rel=0.2), name
    assert not first["hidden"]["bias"].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": 30}, "num_rows=8"),
        ({"tier": "middle"}, "upsampling=0"),
        ({"lyrics": "encoder"}, "lyric_tokens=0"),
        ({"lyrics": "prefix", "lyric_tokens": 8}, "factored_prime"),
        ({"max_seconds": 1.0}, "min_seconds=1.5"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(jukebox_models.model_config("5b"), **changes).validate()
