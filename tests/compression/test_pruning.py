import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors
from flax import nnx

from musicgen_jax import config
from musicgen_jax.compression import pruning
from musicgen_jax.nn import modules
from musicgen_jax.priors import loss
from musicgen_jax.priors.prior import Prior
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import attention, stack

HEADS = 3


@pytest.fixture(scope="module")
def prior():
    return tiny_priors.trained_prior(tiny_priors.model_config(num_heads=HEADS))


@pytest.fixture(scope="module")
def batch(prior):
    arrays = tiny_priors.batch(prior.config, size=3)
    arrays["mask"][1, 5:] = False
    return arrays


def test_removed_equals_masked(prior, batch):
    kept = np.array([[0, 2], [1, 2]])
    gates = np.zeros((2, HEADS), np.float32)
    np.put_along_axis(gates, kept, 1.0, axis=1)
    params, buffers = prior.weights
    predict = jax.jit(
        lambda gates: prior.functional.bind(pruning.gated(params, prior.functional.declared, gates), buffers)(batch)
    )
    masked = predict(gates)
    model = pruning.smaller(prior.config, kept)
    assert model.transformer.num_heads == 2
    smaller = modules.Functional(lambda rngs: Prior(model, rngs=rngs))
    removed = pruning.remove_heads(params, prior.functional.declared, kept)
    shapes = jax.tree.map(lambda leaf: leaf.shape, removed)
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(smaller.init, jax.random.key(0))[0])
    found = jax.jit(lambda params: smaller.bind(params, buffers)(batch))(removed)
    np.testing.assert_allclose(found, masked, atol=1e-5)
    assert np.abs(masked - predict(np.ones((2, HEADS), np.float32))).max() > 0.1


def test_heads_that_read_a_memory_are_not_cut_by_mistake(prior):
    """Theirs lie in the columns of one matrix, whose number is no number of heads."""
    settings, span = prior.config.transformer, attention.Span(prior.config.num_steps)
    reader = modules.Functional(
        lambda rngs: stack.Stack(settings, span, rules.AxisRules(), reads_memory=True, dtype=jnp.float32, rngs=rngs)
    )
    with pytest.raises(ValueError, match="a prior that attends to a memory cannot lose heads"):
        pruning.check(reader.declared)
    pruning.check(prior.functional.declared)
    shapes = jax.tree.map(jnp.zeros_like, nnx.to_pure_dict(reader.abstract_params))
    cut = pruning.remove_heads(shapes, reader.declared, np.array([[0, 2], [1, 2]]))["layers"]
    assert cut["attention"]["qkv"].shape == (2, 16, 3, 2, 8)
    jax.tree.map(np.testing.assert_array_equal, cut["memory_attention"], shapes["layers"]["memory_attention"])
    gated = pruning.gated(shapes, reader.declared, jnp.ones((2, HEADS)))["layers"]
    assert gated["memory_attention"]["out"]["kernel"].shape == (2, HEADS * 8, 16)


def test_gradient_equals_finite_differences(prior, batch):
    params, buffers = prior.weights

    @jax.jit
    def nats(gates, window):
        module = prior.functional.bind(pruning.gated(params, prior.functional.declared, gates), buffers)
        return loss.prior_loss(module, window, None)[0]

    expected = np.zeros((2, HEADS))
    for row in range(3):
        window = {name: array[row : row + 1] for name, array in batch.items()}
        for place in np.ndindex(2, HEADS):
            step = np.zeros((2, HEADS), np.float32)
            step[place] = 1e-2
            expected[place] += abs(float(nats(1 + step, window) - nats(1 - step, window)) / 2e-2)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = pruning.importance("gradient", prior, [batch])
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert np.ptp(found) > 0.05


def test_attention_equals_a_slow_softmax(prior, batch):
    @jax.jit
    def attention_inputs(all_weights):
        module = prior.functional.bind(*all_weights)
        x, found = module.inputs(batch["codes"], module.condition(batch)), []
        for layer in module.stack.unstacked():
            found.append(layer.attention_norm(x))
            x, _ = layer(x, None)
        return found

    scores = pruning.importance("attention", prior, [batch])
    parameters = jax.tree.map(np.asarray, prior.weights[0]["stack"]["layers"]["attention"])
    for index, normed in enumerate(attention_inputs(prior.weights)):
        query, key, _ = np.einsum("btd,dnhk->nbthk", normed, parameters["qkv"][index])
        table = parameters["distances"][index]
        largest = np.zeros(HEADS)
        for row, position in zip(*np.nonzero(batch["mask"]), strict=True):
            for head in range(HEADS):
                keys = key[row, : position + 1, head] + table[head, position::-1][: position + 1]
                logits = keys @ query[row, position, head] / np.sqrt(query.shape[-1])
                shares = np.exp(logits - logits.max())
                largest[head] += (shares / shares.sum()).max()
        np.testing.assert_allclose(scores[index], largest / batch["mask"].sum(), atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("name", config.IMPORTANCES)
def test_batches_are_averaged_and_a_dead_head_is_the_least_important(prior, batch, name):
    if name == "gradient":
        dead = jnp.ones((2, HEADS)).at[0, 1].set(0.0).at[1, 2].set(0.0)
        params = pruning.gated(prior.weights[0], prior.functional.declared, dead)
        scores = pruning.importance(name, dataclasses.replace(prior, weights=(params, {})), [batch])
        assert pruning.most_important(scores, 1).tolist() == [[0, 2], [0, 1]]
    full = {key: array | True if key == "mask" else array for key, array in batch.items()}
    parts = [{key: array[row : row + 1] for key, array in full.items()} for row in range(3)]
    whole = pruning.importance(name, prior, [full])
    np.testing.assert_allclose(pruning.importance(name, prior, parts), whole, rtol=1e-4)


def test_the_most_important_stay_in_order():
    scores = np.array([[0.3, 0.1, 0.2, 0.4], [1.0, 1.0, 1.0, 1.0]])
    assert pruning.most_important(scores, 1).tolist() == [[0, 2, 3], [0, 1, 2]]
    assert pruning.most_important(scores, 3).tolist() == [[3], [0]]


@pytest.mark.parametrize(
    ("fraction", "heads", "removed"),
    [(0.1, 10, 1), (0.25, 4, 1), (0.5, 4, 2), (0.1, 16, 2), (0.13, 4, 1), (0.7, 3, 2), (0.0, 1, 0)],
)
def test_fractions(fraction, heads, removed):
    assert pruning.num_removed(fraction, heads) == removed


@pytest.mark.parametrize(
    ("fraction", "heads", "message"),
    [
        (1.0, 4, "less than 1; one of 0.25, 0.5, 0.75"),
        (-0.1, 4, "at least 0"),
        (float("nan"), 4, "at least 0"),
        (0.1, 4, "removes none: one of 0.25, 0.5, 0.75"),
        (0.95, 4, "removes all: one of 0.25"),
        (0.5, 1, "one head a layer"),
    ],
)
def test_fractions_that_do_not_work(fraction, heads, message):
    with pytest.raises(ValueError, match=message):
        pruning.num_removed(fraction, heads)
