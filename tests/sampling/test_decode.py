import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors

from musicgen_jax.codes import patterns
from musicgen_jax.sampling import decode, logit_filters

SETTINGS = (0.9, 0.95, 0)


def arrays(known, stop, offset, temperature, top_p, top_k):
    """The arguments behind the batch, for two rows; a number stands for both."""
    ones = np.ones(2, np.int32)
    settings = logit_filters.Settings(
        temperature=np.full((2, 12), temperature, np.float32),
        top_p=np.full(2, top_p, np.float32),
        top_k=np.full(2, top_k, np.int32),
        guidance=np.ones(2, np.float32),
    )
    return ones * known, ones * stop, jax.random.split(jax.random.key(5), 2), ones * offset, settings


@pytest.fixture(scope="module", params=["plain", "delay", "flat"])
def parts(request):
    """(prior, batch with random codes, keys, jitted logits of a whole window)."""
    several = {"num_codebooks": 3, "pattern": request.param}
    model = tiny_priors.model_config("middle", num_layers=1, **{} if request.param == "plain" else several)
    prior = tiny_priors.trained_prior(model)
    full_pass = jax.jit(lambda weights, batch: prior.functional.bind(*weights)(batch))
    return prior, tiny_priors.batch(model), jax.random.split(jax.random.key(5), 2), full_pass


@jax.jit
def draw(logits, keys, number):
    """The rule of the sampler, written out: a code's number in the track is folded into its key."""
    step_keys = jnp.stack([jax.random.fold_in(keys[row], number) for row in range(2)])
    return logit_filters.sample(step_keys, logits, *SETTINGS)


def sample_slowly(prior, batch, full_pass, known, stop, keys, offset):
    """The full forward pass for every code."""
    codes, num_codebooks = batch["codes"].copy(), prior.config.num_codebooks
    codes[:, known:stop] = 0
    steps = patterns.of(prior.config.pattern, prior.config.context, num_codebooks).steps
    places = [(t, q) for t in range(known, stop) for q in range(num_codebooks)]
    for t, q in sorted(places, key=lambda place: steps[place]):
        logits = full_pass(prior.weights, batch | {"codes": codes})
        codes[:, t, q] = draw(logits[:, t, q], keys, (offset + t) * num_codebooks + q)
    return codes


@pytest.mark.parametrize(("known", "stop", "offset"), [(0, 12, 0), (5, 12, 8), (4, 7, 100)])
def test_cached_loop_equals_the_slow_one(parts, known, stop, offset):
    prior, batch, keys, full_pass = parts
    expected = sample_slowly(prior, batch, full_pass, known, stop, keys, offset)
    sample_window = decode.make_sample_window(prior.functional)
    got = np.asarray(sample_window(prior.weights, batch, *arrays(known, stop, offset, *SETTINGS)))
    np.testing.assert_array_equal(got[:, :stop], expected[:, :stop])
    np.testing.assert_array_equal(got[:, stop:], batch["codes"][:, stop:])
    assert len(np.unique(expected[:, known:])) > 1


def test_what_stood_in_the_unknown_codes_does_not_matter(parts):
    prior, batch, _, _ = parts
    sample_window = decode.make_sample_window(prior.functional)
    known = np.arange(12)[:, None] < 5
    other = batch | {"codes": np.where(known, batch["codes"], 3).astype(np.int32)}
    results = [np.asarray(sample_window(prior.weights, b, *arrays(5, 12, 0, *SETTINGS))) for b in (batch, other)]
    np.testing.assert_array_equal(*results)


def test_one_program_for_all_lengths_and_settings(parts):
    prior, batch, _, _ = parts
    sample_window = decode.make_sample_window(prior.functional)
    assert decode.make_sample_window(prior.functional) is sample_window
    for values in [(0, 1, 0, 1.0, 1.0, 0), (3, 12, 9, 0.5, 0.2, 4)]:
        sample_window(prior.weights, batch, *arrays(*values))
    assert sample_window.num_programs() == 2


def test_rows_may_differ(parts):
    """Prompts of different lengths, and windows of different places: each row as it is alone."""
    prior, batch, _, _ = parts
    sample_window = decode.make_sample_window(prior.functional)
    known, stop, offset = np.array([2, 7]), np.array([9, 12]), np.array([0, 40])
    together = np.asarray(sample_window(prior.weights, batch, *arrays(known, stop, offset, *SETTINGS)))
    for row in range(2):
        alone = sample_window(prior.weights, batch, *arrays(known[row], stop[row], offset[row], *SETTINGS))
        np.testing.assert_array_equal(together[row], np.asarray(alone)[row])


def test_temperature_by_position(parts):
    prior, batch, _, full_pass = parts
    sample_window = decode.make_sample_window(prior.functional)
    *rest, settings = arrays(0, 12, 0, 1.0, 1.0, 0)
    settings.temperature[:, 6:] = 1e-6
    codes = np.asarray(sample_window(prior.weights, batch, *rest, settings))
    best = np.asarray(full_pass(prior.weights, batch | {"codes": codes})).argmax(axis=-1)
    np.testing.assert_array_equal(codes[:, 6:], best[:, 6:])
    assert np.any(codes[:, :6] != best[:, :6])


def test_top_k_of_one_is_the_most_probable_code(parts):
    prior, batch, _, full_pass = parts
    sample_window = decode.make_sample_window(prior.functional)
    greedy = np.asarray(sample_window(prior.weights, batch, *arrays(2, 12, 0, 1.0, 1.0, 1)))
    predicted = np.asarray(full_pass(prior.weights, batch | {"codes": greedy})).argmax(axis=-1)
    np.testing.assert_array_equal(greedy[:, 2:], predicted[:, 2:])


def test_a_step_draws_the_codes_that_it_has(parts, monkeypatch):
    """Of the flat pattern one, whatever the number of codebooks."""
    prior, batch, _, _ = parts
    shapes, sample = [], logit_filters.sample
    monkeypatch.setattr(
        logit_filters, "sample", lambda keys, *rest: (shapes.append(keys.shape), sample(keys, *rest))[1]
    )
    decode.SampleWindow(prior.functional)(prior.weights, batch, *arrays(0, 12, 0, *SETTINGS))
    drawn = 3 if prior.config.num_codebooks == 3 and prior.config.pattern == "delay" else 1
    assert set(shapes) == {(2 * drawn,)}
