import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors

from musicgen_jax.sampling import decode
from musicgen_jax.sampling import logits as logits_lib

SETTINGS = (0.9, 0.95, 0)


@pytest.fixture(scope="module")
def parts():
    """(prior, batch with random codes, keys, jitted logits of a whole window)."""
    model = tiny_priors.model_config("middle", num_layers=1)
    prior = tiny_priors.trained_prior(model)
    full_pass = jax.jit(lambda weights, batch: prior.functional.bind(*weights)(batch))
    return prior, tiny_priors.batch(model), jax.random.split(jax.random.key(5), 2), full_pass


@jax.jit
def draw(logits, keys, position):
    """The rule of the sampler, written out: the code at a position of the track has the key folded with it."""
    step_keys = jnp.stack([jax.random.fold_in(keys[row], position) for row in range(2)])
    return logits_lib.sample(step_keys, logits, *SETTINGS)


def sample_slowly(prior, batch, full_pass, known, stop, keys, offset):
    """The full forward pass for every code."""
    codes = batch["codes"].copy()
    codes[:, known:] = 0
    for position in range(known, stop):
        logits = full_pass(prior.weights, batch | {"codes": codes})
        codes[:, position] = draw(logits[:, position], keys, offset + position)
    return codes


@pytest.mark.parametrize(("known", "stop", "offset"), [(0, 12, 0), (5, 12, 8), (4, 7, 100)])
def test_cached_loop_equals_the_slow_one(parts, known, stop, offset):
    prior, batch, keys, full_pass = parts
    expected = sample_slowly(prior, batch, full_pass, known, stop, keys, offset)
    sample_window = decode.make_sample_window(prior.functional)
    got = np.asarray(sample_window(prior.weights, batch, known, stop, keys, offset, *SETTINGS))
    np.testing.assert_array_equal(got[:, :stop], expected[:, :stop])
    np.testing.assert_array_equal(got[:, stop:], batch["codes"][:, stop:])
    assert len(np.unique(expected[:, known:])) > 1


def test_what_stood_in_the_unknown_codes_does_not_matter(parts):
    prior, batch, keys, _ = parts
    sample_window = decode.make_sample_window(prior.functional)
    other = batch | {"codes": np.where(np.arange(12) < 5, batch["codes"], 3).astype(np.int32)}
    results = [np.asarray(sample_window(prior.weights, b, 5, 12, keys, 0, *SETTINGS)) for b in (batch, other)]
    np.testing.assert_array_equal(*results)


def test_one_program_for_all_lengths_and_settings(parts):
    prior, batch, keys, _ = parts
    sample_window = decode.make_sample_window(prior.functional)
    assert decode.make_sample_window(prior.functional) is sample_window
    for known, stop, offset, temperature, top_p, top_k in [(0, 1, 0, 1.0, 1.0, 0), (3, 12, 9, 0.5, 0.2, 4)]:
        sample_window(prior.weights, batch, known, stop, keys, offset, temperature, top_p, top_k)
    assert sample_window._cache_size() == 1


def test_top_k_of_one_is_the_most_probable_code(parts):
    prior, batch, keys, full_pass = parts
    sample_window = decode.make_sample_window(prior.functional)
    greedy = np.asarray(sample_window(prior.weights, batch, 2, 12, keys, 0, 1.0, 1.0, 1))
    predicted = np.asarray(full_pass(prior.weights, batch | {"codes": greedy})).argmax(axis=-1)
    np.testing.assert_array_equal(greedy[:, 2:], predicted[:, 2:])
