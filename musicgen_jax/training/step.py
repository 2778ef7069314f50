"""One training step, and an evaluation, jitted."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from musicgen_jax import config
from musicgen_jax.sharding import meshes
from musicgen_jax.training import optimizer, precision, rng, state

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


class _Learned(NamedTuple):
    """Those attributes of a `state.TrainState` that a step changes only if it is accepted."""

    params: state.Tree
    buffers: state.Tree
    ema_params: state.Tree
    opt_state: Any


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
    tx = optax.with_extra_args_support(tx)

    def train_step(old: state.TrainState, batch: Batch) -> tuple[state.TrainState, Metrics]:
        key = rng.key(training.seed, "train", old.step)
        loss, metrics, grads, buffers = _gradients(task, old, batch, key, training, shardings.params)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        decay = ema_decay(training.ema_decay, _updates_done(old)) if training.ema_decay else None
        updated = functools.partial(_updated, tx, decay, grads, grad_norm, buffers)
        learned = _where_accepted(finite, updated, _Learned(old.params, old.buffers, old.ema_params, old.opt_state))
        # A float16 overflow that halving the scale can still cure is no sign of divergence.
        hopeless = ~finite & (~jnp.isfinite(loss) | (old.loss_scale.scale <= 1.0))
        new = state.TrainState(
            step=old.step + 1,
            **learned._asdict(),
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


def _updated(
    tx: optax.GradientTransformationExtraArgs,
    decay: jax.Array | None,
    grads: state.Tree,
    grad_norm: jax.Array,
    buffers: state.Tree,
    learned: _Learned,
) -> _Learned:
    """What is learned after a step; `decay` is that of the moving average, None where there is none."""
    updates, opt_state = tx.update(grads, learned.opt_state, learned.params, grad_norm=grad_norm)
    params = optax.apply_updates(learned.params, updates)
    averaged = {} if decay is None else params
    ema_params = jax.tree.map(lambda ema, p: decay * ema + (1 - decay) * p, learned.ema_params, averaged)
    return _Learned(params, buffers, ema_params, opt_state)


def _where_accepted(accepted: jax.Array, updated: Callable[[_Learned], _Learned], old: _Learned) -> _Learned:
    """`updated(old)` where a step is accepted, else `old`."""
    if meshes.platform() == "cpu":
        # In a branch each array is updated in place, and read once or twice. Selects would need what is old as well:
        # XLA on CPUs would copy both moments first, and compute them a second time where the parameters need them.
        return jax.lax.cond(accepted, updated, lambda old: old, old)
    return jax.tree.map(lambda new, previous: jnp.where(accepted, new, previous), updated(old), old)


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
    task: state.Task,
    old: state.TrainState,
    batch: Batch,
    key: jax.Array,
    training: config.TrainingConfig,
    layout: state.Tree,
):
    """(loss, metrics, float32 gradients, buffers), weighted means over micro-batches that run one after the other.

    Gradients and their sum lie as their parameters do (`layout`): no device ever holds more than its part.
    """
    scale = precision.loss_factor(old.loss_scale, training.compute_dtype)
    accumulation_steps = training.accumulation_steps

    def scaled_loss(params, buffers, micro_batch, micro_key):
        module = task.functional.bind(task.functional.whole(params, old.frozen), buffers)
        loss, metrics = task.loss(module, micro_batch, micro_key, True)
        return loss * scale, (loss, metrics, task.functional.buffers_of(module))

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
    grads = jax.tree.map(lambda g: g.astype(jnp.float32) / scale, grads)
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
