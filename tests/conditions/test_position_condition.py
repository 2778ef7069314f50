"""Meter as a condition: it changes what a composer expects, and hidden it is unknown."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_scores

from musicgen_jax import config, kinds
from musicgen_jax.conditions import position
from musicgen_jax.nn import modules


@pytest.fixture(scope="module")
def condition():
    model = tiny_scores.model_config()
    functional = modules.Functional(lambda rngs: position.Position(model, rngs=rngs))
    shapes = jax.eval_shape(functional.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return functional.bind(*jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes))


def batch(size=2):
    rng = np.random.default_rng(1)
    return {"position": rng.integers(-1, 40, (size, 16, 4)).astype(np.int32)}


def test_equals_a_loop(condition):
    given = batch()
    added = np.asarray(condition(given).added)
    assert added.shape == (2, 64, 16)
    for row, token in ((0, 0), (1, 37), (0, 63)):
        step, voice = divmod(token, 4)
        wanted = np.asarray(condition.voice[...])[voice].copy()
        for value, (name, size) in zip(given["position"][row, step], position.COLUMNS.items(), strict=True):
            wanted += np.asarray(condition.known[name][...])[size if value < 0 else min(value, size - 1)]
        np.testing.assert_allclose(added[row, token], wanted, rtol=1e-5)


def test_hidden_is_unknown(condition):
    given = batch()
    hidden = condition(given, jnp.array([True, False])).added
    unknown = condition({"position": np.full((2, 16, 4), -1, np.int32)}).added
    np.testing.assert_array_equal(hidden[0], unknown[0])
    np.testing.assert_array_equal(hidden[1], condition(given).added[1])
    assert np.abs(unknown[0] - condition(given).added[0]).max() > 0.1


def test_changes_the_logits_from_the_step_on_that_it_is_told_of():
    model = tiny_scores.model_config()
    functional = kinds.KINDS["composer"].functional(config.ComposerTraining(model=model))
    shapes = jax.eval_shape(functional.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.35, size=leaf.shape), leaf.dtype), shapes)
    arrays = batch() | {"codes": rng.integers(0, model.num_codes, (2, 64, 1)).astype(np.int32)}
    arrays |= {"labels": np.zeros((2, 2), np.int32), "start": np.zeros(2, np.int32), "length": np.full(2, 64)}
    run = jax.jit(lambda arrays: functional.bind(*weights)(arrays))
    changed = arrays["position"].copy()
    changed[:, 5] = (changed[:, 5] + 2) % 4
    difference = np.abs(np.asarray(run(arrays)) - run(arrays | {"position": changed})).max(axis=(0, 2, 3))
    assert (difference[:20] == 0).all() and (difference[20:24] > 1e-3).all()
