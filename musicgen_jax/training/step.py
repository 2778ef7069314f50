"""One training step, and an evaluation, jitted."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from musicgen_jax import config
from musicgen_jax.training import optimizer, precision, rng, state

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


def make_train_step(
    task: state.Task,
    tx: optax.GradientTransformation,
    training: config.TrainingConfig,
    optimizer_config: config.OptimizerConfig,
    shardings: state.TrainState,
) -> Callable[[state.TrainState, Batch], tuple[state.TrainState, Metrics]]:
    """Jitted (state, batch) -> (state, metrics). The input state is donated.

    A step whose loss or gradient is not finite changes nothing but the counters: parameters, codebooks, optimizer state
    and moving average stay as they were.

    Args:
      task: the model and its loss.
      tx: from `optimizer.make_optimizer` with `optimizer_config`, `training.num_steps` and what the task says.
      training: seed, precision, accumulation and moving average.
      optimizer_config: for the learning rate that the metrics report.
      shardings: of the state (`state.state_shardings`). The step returns it as it came: left to itself, XLA may choose
        another layout, and would compile the next step anew.
    """
    schedule = optimizer.make_schedule(optimizer_config, training.num_steps)

    def train_step(old: state.TrainState, batch: Batch) -> tuple[state.TrainState, Metrics]:
        key = rng.key(training.seed, "train", old.step)
        loss, metrics, grads, buffers = _gradients(task, old, batch, key, training.accumulation_steps, shardings.params)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        updates, opt_state = tx.update(grads, old.opt_state, old.params)
        params = optax.apply_updates(old.params, updates)
        decay = ema_decay(training.ema_decay, _updates_done(old))
        averaged = params if training.ema_decay else {}
        ema_params = jax.tree.map(lambda ema, p: decay * ema + (1 - decay) * p, old.ema_params, averaged)

        def accept(new, previous):
            return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, previous)

        # A float16 overflow that halving the scale can still cure is no sign of divergence.
        hopeless = ~finite & (~jnp.isfinite(loss) | (old.loss_scale.scale <= 1.0))
        new = state.TrainState(
            step=old.step + 1,
            params=accept(params, old.params),
            buffers=accept(buffers, old.buffers),
            ema_params=accept(ema_params, old.ema_params),
            opt_state=accept(opt_state, old.opt_state),
            loss_scale=precision.update_loss_scale(old.loss_scale, finite, training.compute_dtype),
            skipped=old.skipped + ~finite,
            skipped_in_a_row=jnp.where(hopeless, old.skipped_in_a_row + 1, 0),
            frozen=old.frozen,
        )
        trainer_metrics = {
            "loss": loss,
            "grad_norm": grad_norm,
            "learning_rate": schedule(_updates_done(old)),
            "loss_scale": old.loss_scale.scale,
            "skipped": new.skipped,
            "skipped_in_a_row": new.skipped_in_a_row,
        }
        return new, trainer_metrics | metrics

    return jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, None))


def ema_decay(decay: float, updates_done: jax.Array) -> jax.Array:
    """Decay of the parameters' moving average in the update that comes after `updates_done`.

    min(decay, (1 + n) / (10 + n)), as tf.train.ExponentialMovingAverage has it: until `decay` is reached, the average
    looks back over the last ninth of the run or so, and soon holds nothing of the initial weights. (Divided by
    1 - decay^n, as Adam's moments are, it would hold all of a short run alike, its beginning too.)
    """
    return jnp.minimum(decay, (1.0 + updates_done) / (10.0 + updates_done))


def _updates_done(old: state.TrainState) -> jax.Array:
    return old.step - old.skipped


def _gradients(
    task: state.Task, old: state.TrainState, batch: Batch, key: jax.Array, accumulation_steps: int, layout: state.Tree
):
    """(loss, metrics, float32 gradients, buffers), weighted means over micro-batches that run one after the other.

    Gradients and their sum lie as their parameters do (`layout`): no device ever holds more than its part.
    """

    def scaled_loss(params, buffers, micro_batch, micro_key):
        module = task.functional.bind(task.functional.whole(params, old.frozen), buffers)
        loss, metrics = task.loss(module, micro_batch, micro_key, True)
        return loss * old.loss_scale.scale, (loss, metrics, task.functional.buffers_of(module))

    gradient = jax.grad(scaled_loss, has_aux=True)

    def micro_step(buffers, inputs):
        grads, (loss, metrics, buffers) = gradient(old.params, buffers, *inputs)
        grads = jax.lax.with_sharding_constraint(grads, layout)
        return buffers, (grads, loss, metrics)

    if accumulation_steps == 1:
        buffers, (grads, loss, metrics) = micro_step(old.buffers, (batch, key))
    else:
        # Micro-batch i takes every n-th example from i on: each device works on rows that it holds already.
        micro_batches = jax.tree.map(lambda x: x.reshape(-1, accumulation_steps, *x.shape[1:]).swapaxes(0, 1), batch)
        weights = jax.lax.map(task.weight, micro_batches)
        shares = weights / jnp.maximum(jnp.sum(weights), 1)
        keys = jax.random.split(key, accumulation_steps)
        # The sum is the carry: one set of gradients in memory, whatever the number of micro-batches.
        shapes = jax.eval_shape(micro_step, old.buffers, jax.tree.map(lambda x: x[0], (micro_batches, keys)))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), shapes[1])

        def accumulate(carry, inputs):
            buffers, total = carry
            share, micro_inputs = inputs
            buffers, out = micro_step(buffers, micro_inputs)
            return (buffers, jax.tree.map(lambda t, x: t + share * x, total, out)), None

        steps = (shares, (micro_batches, keys))
        (buffers, (grads, loss, metrics)), _ = jax.lax.scan(accumulate, (old.buffers, zeros), steps)
    grads = jax.tree.map(lambda g: g.astype(jnp.float32) / old.loss_scale.scale, grads)
    return loss, metrics, grads, buffers


def make_evaluation(task: state.Task) -> Callable[[state.TrainState, Iterable[Batch]], dict[str, Any]]:
    """(state, batches) -> metrics of all batches together, with the inference parameters; {} where there is no batch.

    A batch counts by `task.weight`, what its means are divided by; `task.summarize` makes the rest of the means.
    """

    @jax.jit
    def eval_step(current: state.TrainState, batch: Batch) -> tuple[jax.Array, Metrics]:
        params = task.functional.whole(current.inference_params(), current.frozen)
        module = task.functional.bind(params, current.buffers)
        loss, metrics = task.loss(module, batch, jax.random.key(0), False)
        return task.weight(batch), {"loss": loss} | metrics

    def evaluate(current: state.TrainState, batches: Iterable[Batch]) -> dict[str, Any]:
        results = [jax.device_get(eval_step(current, batch)) for batch in batches]
        if not results:
            return {}
        total = sum(float(weight) for weight, _ in results)
        return task.summarize(
            {
                name: sum(float(weight) * np.asarray(metrics[name], np.float64) for weight, metrics in results) / total
                for name in results[0][1]
            }
        )

    return evaluate
