"""What conditions give, joined; and that a model hears each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors

from musicgen_jax.conditions import condition


def test_what_is_added_is_summed_and_memories_are_read_one_after_another():
    one, two = np.float32([[[1.0, 2.0]]]), np.float32([[[3.0, 4.0], [5.0, 6.0]]])
    parts = [
        condition.Condition(added=jnp.asarray(one)),
        condition.Condition(added=jnp.asarray(two), memory=jnp.asarray(two)),
        condition.Condition(memory=jnp.asarray(one), memory_mask=jnp.array([[False]])),
    ]
    whole = condition.joined(parts, 2, jnp.float32)
    np.testing.assert_array_equal(whole.added, one + two)
    np.testing.assert_array_equal(whole.memory, [[[3, 4], [5, 6], [1, 2]]])
    np.testing.assert_array_equal(whole.memory_mask, [[True, True, False]])
    np.testing.assert_array_equal(whole.at(1).added, [[6, 8]])


def test_without_memory_there_is_none():
    whole = condition.joined([condition.Condition(added=jnp.ones((2, 1, 3)))], 4, jnp.bfloat16)
    assert (whole.memory, whole.memory_mask) == (None, None)
    assert (whole.added.shape, whole.added.dtype) == ((2, 4, 3), jnp.bfloat16)


def test_each_condition_is_hidden_by_itself():
    streams = {"a": 1, "b": 2, "c": 3}
    rows = condition.hidden_rows(jax.random.key(0), 4000, {"a": 0.25, "b": 0.25, "c": 0.0}, streams)
    assert sorted(rows) == ["a", "b"]
    assert [float(hidden.mean()) for hidden in rows.values()] == pytest.approx([0.25, 0.25], abs=0.03)
    assert float((rows["a"] & rows["b"]).mean()) == pytest.approx(1 / 16, abs=0.02)


@pytest.fixture(scope="module")
def model():
    """An upsampler that was told everything but sometimes: (logits of a batch and hidden conditions, batch)."""
    shares = {f"{name}_dropout": 0.1 for name in ("label", "timing", "above", "score")}
    settings = tiny_priors.model_config("middle", score=True, score_ahead=0.1, **shares)
    trained = tiny_priors.trained_prior(settings)

    @jax.jit
    def logits(batch, hidden):
        module = trained.functional.bind(*trained.weights)
        return module.predict(module.stack(module.inputs(batch["codes"], module.condition(batch, hidden))))

    return lambda batch, **hidden: np.asarray(logits(batch, hidden)), tiny_priors.batch(settings)


CHANGES = {
    "labels": {"labels": tiny_priors.labels(genre=[2, 0])},
    "timing": {"start": np.int32([40, 44]), "length": np.int32([48, 100])},
    "above": {"above": np.int32([[1, 2, 3], [4, 5, 6]])[..., None]},
    "score": {"notes": np.float32([[[60, 0, 0.2, 80, 0]], [[64, 0.1, 0.1, 80, 0]]])},
}


@pytest.mark.long
@pytest.mark.parametrize("name", CHANGES)
def test_a_condition_changes_the_logits_unless_it_is_hidden(model, name):
    logits, batch = model
    batch = batch | {"labels": tiny_priors.labels(genre=[0, 1])}
    changed = batch | CHANGES[name]
    assert np.abs(logits(changed) - logits(batch)).max() > 1e-2
    both = {name: np.array([True, True])}
    hidden = logits(batch, **both)
    np.testing.assert_array_equal(logits(changed, **both), hidden)
    assert np.abs(hidden - logits(batch)).max() > 1e-2
    first = {name: np.array([True, False])}
    np.testing.assert_allclose(logits(batch, **first), np.stack([hidden[0], logits(batch)[1]]), atol=1e-5)


def test_training_hides_conditions_and_evaluation_does_not():
    settings = tiny_priors.model_config("middle", above_dropout=0.5)
    trained, batch = tiny_priors.trained_prior(settings), tiny_priors.batch(settings, size=16)
    run = jax.jit(lambda batch, key: trained.functional.bind(*trained.weights)(batch, key))
    other = batch | {"above": (batch["above"] + 1) % 11}
    heard = lambda key: np.abs(run(batch, key) - run(other, key)).max(axis=(1, 2, 3)) > 1e-6  # noqa: E731
    assert heard(None).all()
    assert 0 < heard(jax.random.key(1)).sum() < 16
