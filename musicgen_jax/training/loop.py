"""The training loop of every model, in the order that makes resuming exact."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from musicgen_jax import config, console, progress
from musicgen_jax.errors import UserError
from musicgen_jax.sharding import rules
from musicgen_jax.training import checkpointing, metrics, optimizer, preemption, state, step, throughput

MAX_SKIPPED_IN_A_ROW = 10
# Logged as they stand; every other metric is averaged over the steps since the last line.
LATEST = ("learning_rate", "loss_scale", "skipped", "skipped_in_a_row")


class DivergenceError(UserError):
    """Too many steps in a row had a loss or gradient that is not finite."""


def train(
    task: state.Task,
    run_config: Any,
    workdir: pathlib.Path,
    mesh: jax.sharding.Mesh,
    batches_from: Callable[[int], Iterator[step.Batch]],
    eval_batches: Callable[[], Iterator[step.Batch]],
    axis_rules: rules.AxisRules | None = None,
) -> state.TrainState:
    """Trains up to `run_config.training.num_steps`, resuming from the newest checkpoint in `workdir` if there is one.

    Args:
      task: the model and its loss.
      run_config: VQVAETraining or PriorTraining; its `model` part must agree with the checkpoint's.
      workdir: gets config.json, metrics.jsonl and checkpoints/.
      mesh: devices; the state is laid out on them by `axis_rules`.
      batches_from: training batches from a step on, as global arrays.
      eval_batches: the batches of one validation pass; may be empty.
      axis_rules: defaults to `AxisRules()`.

    Raises:
      DivergenceError: ten skipped updates in a row; names the step and the metric.
      UserError: the checkpoint in `workdir` does not fit the config.
    """
    training = run_config.training
    axis_rules = rules.AxisRules() if axis_rules is None else axis_rules
    workdir.mkdir(parents=True, exist_ok=True)
    tx = optimizer.make_optimizer(run_config.optimizer, training.num_steps, task.clipped_apart)
    abstract = state.abstract_state(task, training, tx, axis_rules, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    train_step = step.make_train_step(task, tx, training, run_config.optimizer, shardings)
    eval_step = step.make_eval_step(task)
    model_config = config.to_dict(run_config.model)

    # The guard comes first: a SIGTERM during compilation is answered after the first step, and one that comes while the
    # last checkpoint is being written does not tear it.
    with (
        preemption.PreemptionGuard() as guard,
        checkpointing.Checkpointer(workdir, training.keep_checkpoints) as checkpointer,
        jax.set_mesh(mesh),
    ):
        current = checkpointer.restore(abstract, model_config)
        if current is None:
            current = state.initial_state(task, training, tx, axis_rules, mesh)
        start = int(current.step)
        _announce(task, mesh, start)
        if jax.process_index() == 0:
            config.write_json(workdir / "config.json", run_config)
        writer = metrics.MetricsWriter(workdir / "metrics.jsonl", start)
        with _Recorder(task, training, writer, mesh, start) as recorder:
            return _take_steps(
                current,
                training,
                batches_from(start),
                train_step,
                evaluate=lambda done, now: _evaluate(eval_step, now, eval_batches(), writer, done),
                save=lambda now: checkpointer.save(now, model_config),
                recorder=recorder,
                guard=guard,
            )


def _announce(task: state.Task, mesh: jax.sharding.Mesh, start: int) -> None:
    console.say_devices()
    axes = ", ".join(f"{name} {size}" for name, size in mesh.shape.items() if size > 1)
    console.say(f"{task.functional.num_parameters():,} parameters" + (f" on the mesh {axes}" if axes else ""))
    if start:
        console.say(f"resuming from step {start}")


def _take_steps(current, training, batches, train_step, evaluate, save, recorder, guard) -> state.TrainState:
    for done in range(int(current.step) + 1, training.num_steps + 1):
        # While the devices work on the step before.
        with recorder.speed.waiting("data"):
            batch = next(batches)
        current, step_metrics = train_step(current, batch)
        recorder.record(done, step_metrics)
        preempted, last = guard.reached(done), done == training.num_steps
        # What is logged of a step is written before its checkpoint: a run that resumes there misses nothing.
        if _due(done, training.eval_every, last) and not preempted:
            recorder.flush()
            with recorder.speed.waiting("evaluation"):
                evaluate(done, current)
        if _due(done, training.checkpoint_every, last) or preempted:
            recorder.flush()
            with recorder.speed.waiting("checkpoint"):
                save(current)
        if preempted:
            console.say(f"SIGTERM: saved step {done}; run the same command again to go on")
            break
    return current


def _due(done: int, every: int, last: bool) -> bool:
    return every > 0 and (last or done % every == 0)


def _evaluate(eval_step, current, batches, writer: metrics.MetricsWriter, done: int) -> None:
    results = [jax.device_get(eval_step(current, batch)) for batch in batches]
    if results:
        means = {f"eval/{name}": float(np.mean([r[name] for r in results])) for name in results[0]}
        writer.write(done, means)


class _Recorder:
    """Fetches metrics one step late, so that the device never waits for the host; logs, shows progress, stops a run
    that diverges."""

    def __init__(
        self,
        task: state.Task,
        training: config.TrainingConfig,
        writer: metrics.MetricsWriter,
        mesh: jax.sharding.Mesh,
        start: int,
    ):
        self.speed = throughput.Throughput(task, throughput.peak_flops(mesh) if task.flops_per_step else 0.0, start)
        self._unit, self._training, self._writer = task.unit, training, writer
        self._pending: tuple[int, dict[str, jax.Array]] | None = None
        self._progress = progress.Progress(
            "train", training.num_steps, "steps", done=start, show=jax.process_index() == 0
        )

    def __enter__(self) -> "_Recorder":
        return self

    def __exit__(self, error_type: type | None, *_: object) -> None:
        if error_type is None:
            self.flush()
        self._progress.close()

    def record(self, done: int, step_metrics: dict[str, jax.Array]) -> None:
        """Takes the metrics of step `done` and deals with those of the step before."""
        self.flush()
        self._pending = (done, step_metrics)

    def flush(self) -> None:
        """Deals with the metrics that wait, if any.

        Raises:
          DivergenceError: see `train`.
        """
        if self._pending is None:
            return
        done, device_metrics = self._pending
        self._pending = None
        values = {name: float(value) for name, value in jax.device_get(device_metrics).items()}
        if values["skipped_in_a_row"] >= MAX_SKIPPED_IN_A_ROW:
            offending = [name for name, value in values.items() if not np.isfinite(value)]
            raise DivergenceError(
                f"step {done}: {MAX_SKIPPED_IN_A_ROW} updates in a row were skipped, {', '.join(offending)} not being "
                "finite; lower optimizer.peak_learning_rate, use training.compute_dtype=float32, or look for bad "
                "data"
            )
        self.speed.finished(done)
        self._writer.accumulate(values)
        if done % self._training.log_every == 0 or done == self._training.num_steps:
            averages = self._writer.averages()
            latest = {name: values[name] for name in LATEST}
            speed = self.speed.line(done)
            self._writer.write(done, averages | latest | speed)
            rate = progress.describe_speed(speed[f"{self._unit}_per_second"], self._unit)
            self._progress.note(f"{rate}, loss {averages['loss']:.4f}")
        self._progress.update()
