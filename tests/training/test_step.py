"""One training step: accumulation, moving average, what a bad batch must not touch."""

import jax
import numpy as np
import pytest
import tiny_runs
import toy

from musicgen_jax import config
from musicgen_jax.sharding import meshes
from musicgen_jax.training import optimizer, state, step


@pytest.mark.long
def test_four_micro_batches_equal_one_large_batch():
    """Also where the micro-batches hold different numbers of codes."""
    model = tiny_runs.prior_config("top")
    task = tiny_runs.prior_task(model)
    fresh, whole_step = tiny_runs.start(task, config.TrainingConfig(num_steps=10), toy.mesh())
    training = config.TrainingConfig(num_steps=10, accumulation_steps=4)
    _, accumulated_step = tiny_runs.start(task, training, toy.mesh())
    for lengths in ((), (32, 5, 1, 20, 32, 9, 2, 17)):
        batch = tiny_runs.prior_batch(model, 0, lengths)
        results = []
        for train_step in (whole_step, accumulated_step):
            # Compared by loss and by Adam's moments, which are the gradient and its square; the parameters after one
            # step of Adam show little more than the gradient's sign.
            current, metrics = train_step(jax.tree.map(jax.numpy.copy, fresh), batch)
            results.append((metrics["loss"], metrics["grad_norm"], current.opt_state, metrics["nats_per_code"]))
        for whole, accumulated in zip(*map(jax.tree.leaves, results), strict=True):
            np.testing.assert_allclose(whole, accumulated, rtol=1e-6, atol=1e-6)


@pytest.mark.long
def test_accumulated_gradients_are_divided_as_their_parameters():
    """On eight devices that share the parameters, the sum of gradients costs each an eighth of it."""
    model = tiny_runs.prior_config("top")
    model.context, model.transformer.width, model.transformer.mlp_width = 4, 128, 256
    task = tiny_runs.prior_task(model)
    mesh = meshes.make_mesh(config.MeshConfig(data=1, fsdp=8), jax.devices()[:8])
    divided = meshes.batch_sharding(mesh)
    batch = {
        name: jax.ShapeDtypeStruct((16, *rows.shape[1:]), rows.dtype, sharding=divided)
        for name, rows in tiny_runs.prior_batch(model, 0).items()
    }
    tx = optimizer.make_optimizer(tiny_runs.OPTIMIZER, 10, task.functional.declared)
    temporaries = []
    for accumulation_steps in (1, 2):
        training = config.TrainingConfig(num_steps=10, accumulation_steps=accumulation_steps)
        abstract = state.abstract_state(task, training, tx, mesh)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
        train_step = step.make_train_step(task, tx, training, tiny_runs.OPTIMIZER, shardings)
        with jax.set_mesh(mesh):
            memory = train_step.lower(abstract, batch).compile().memory_analysis()
        temporaries.append(memory.temp_size_in_bytes)
    whole = 4 * task.functional.num_parameters()
    assert whole / 16 < temporaries[1] - temporaries[0] < whole / 4


def test_moving_average_of_the_parameters():
    training = config.TrainingConfig(num_steps=10, ema_decay=0.2)
    current, train_step = tiny_runs.start(toy.task(), training, toy.mesh())
    expected = jax.device_get(current.params)
    for index, decay in enumerate((1 / 10, 2 / 11, 0.2, 0.2)):
        current, _ = train_step(current, toy.batch(index))
        expected = jax.tree.map(lambda e, p: decay * e + (1 - decay) * np.asarray(p), expected, current.params)  # noqa: B023
    jax.tree.map(lambda e, found: np.testing.assert_allclose(found, e, rtol=1e-6), expected, current.ema_params)
    assert current.inference_params() is current.ema_params
    module = toy.task().functional.bind(expected, current.buffers)
    loss, _ = toy.loss(module, toy.batch(7), jax.random.key(0), False)
    evaluated = step.make_evaluation(toy.task())(current, [toy.batch(7)])
    np.testing.assert_allclose(evaluated["loss"], loss, rtol=1e-5)


@pytest.mark.parametrize("updates", [30, 300, 30_000])
def test_a_moving_average_forgets_where_it_began(updates):
    """What is left of the initial weights, and how old the rest is: a tenth of the run, at last 1 / (1 - decay)."""
    decays = np.asarray(step.ema_decay(0.999, jax.numpy.arange(updates, dtype=jax.numpy.float32)), np.float64)
    left = np.append(np.cumprod(decays[::-1])[::-1], 1.0)  # of what update n set, after the last one
    assert left[0] < 1e-5
    age = np.sum((1 - decays) * left[1:] * np.arange(updates)[::-1])
    assert age == pytest.approx(min(updates / 10, 999), rel=0.15)


def test_an_evaluation_is_of_all_batches_together():
    """Means over what exists in all of them, though batches hold different numbers; perplexity of the mean."""
    model = tiny_runs.prior_config("top")
    model.context = 8
    task = tiny_runs.prior_task(model)
    current, _ = tiny_runs.start(task, config.TrainingConfig(num_steps=10), toy.mesh())
    lengths = ((8, 5, 1, 2, 8, 7, 2, 4), (1, 0, 0, 0, 0, 0, 0, 0))
    batches = [tiny_runs.prior_batch(model, index, rows) for index, rows in enumerate(lengths)]
    together = step.make_evaluation(task)(current, batches)
    whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    expected = step.make_evaluation(task)(current, [whole])
    for name in ("loss", "nats_per_code", "accuracy", "perplexity"):
        np.testing.assert_allclose(together[name], expected[name], rtol=1e-5)
    np.testing.assert_allclose(together["perplexity"], np.exp(together["nats_per_code"]), rtol=1e-6)
    alone = [step.make_evaluation(task)(current, [batch])["nats_per_code"] for batch in batches]
    assert abs(np.mean(alone) - together["nats_per_code"]) > 0.01  # what a mean of means would say
    assert step.make_evaluation(task)(current, []) == {}


def infinite_gradient(module, batch, key, train):
    """A finite loss whose gradient is infinite: the slope of a square root at 0."""
    value, metrics = toy.loss(module, batch, key, train)
    return value + jax.numpy.sqrt(0 * module.linear.bias[...].sum()), metrics


@pytest.mark.parametrize("offender", ["loss", "grad_norm"])
def test_a_step_that_is_not_finite_changes_nothing(offender):
    task = toy.task()
    training = config.TrainingConfig(num_steps=10, ema_decay=0.9)
    current, train_step = tiny_runs.start(task, training, toy.mesh())
    current, _ = train_step(current, toy.batch(0))
    before = jax.device_get(current)
    bad = {name: value * np.nan for name, value in toy.batch(1).items()} if offender == "loss" else toy.batch(1)
    if offender == "grad_norm":
        broken = state.Task(task.functional, infinite_gradient, "examples", 8)
        _, train_step = tiny_runs.start(broken, training, toy.mesh())
    current, metrics = train_step(current, bad)
    assert not np.isfinite(metrics[offender])
    for name in ("params", "opt_state", "buffers", "ema_params", "loss_scale"):
        assert toy.equal(getattr(current, name), getattr(before, name)), name
    assert (int(current.step), int(current.skipped), int(current.skipped_in_a_row)) == (2, 1, 1)
    _, train_step = tiny_runs.start(task, training, toy.mesh())
    current, metrics = train_step(current, toy.batch(2))
    assert (int(current.step), int(current.skipped), int(current.skipped_in_a_row)) == (3, 1, 0)
    assert not toy.equal(current.params, before.params)
    assert float(metrics["learning_rate"]) == pytest.approx(tiny_runs.OPTIMIZER.peak_learning_rate)  # of update 2


def test_randomness_is_a_function_of_the_step():
    current, train_step = tiny_runs.start(toy.task(), config.TrainingConfig(num_steps=10), toy.mesh())
    noise = []
    for index in range(3):
        current, metrics = train_step(current, toy.batch(index))
        noise.append(float(metrics["noise"]))
    assert len(set(noise)) == 3
    again, _ = tiny_runs.start(toy.task(), config.TrainingConfig(num_steps=10), toy.mesh())
    _, metrics = train_step(again, toy.batch(5))
    assert float(metrics["noise"]) == noise[0]
