"""The training loop of every model, in the order that makes resuming exact."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.runtime import buckets, console, progress_report
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.training import (
    checkpointing,
    metrics,
    optimizer,
    preemption,
    profile,
    start,
    state,
    step,
    throughput,
)

# Imported when a run begins: tensorboardX imports torch where it finds it, and no other command should wait for that.
if TYPE_CHECKING:
    from musicgen_jax.training import events

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
    sounds: "Callable[[state.TrainState], events.Sounds] | None" = None,
    frozen: state.Tree = MappingProxyType({}),
) -> state.TrainState:
    """Trains up to `run_config.training.num_steps`, resuming from the newest checkpoint in `workdir` if there is one.

    Args:
      task: the model and its loss.
      run_config: VQVAETraining or PriorTraining; its `model` part must agree with the checkpoint's.
      workdir: gets config.json, metrics.jsonl, TensorBoard's events and checkpoints/.
      mesh: devices; the state is laid out on them by `task.axis_rules`.
      batches_from: training batches from a step on, as global arrays.
      eval_batches: the batches of one validation pass; may be empty.
      sounds: what can be heard of a state, for the events; every process calls it, and an error in it ends no run.
      frozen: parameters that the task's module has beside those that learn, laid out on `mesh`.

    Raises:
      DivergenceError: ten skipped updates in a row.
      UserError: another process trains in `workdir`; its checkpoint does not fit, is damaged, or could not be read.
      preemption.Interrupted: after Ctrl-C, once what was trained is saved; after SIGTERM the state is returned.
    """
    training, functional = run_config.training, task.functional
    tx = optimizer.make_optimizer(run_config.optimizer, training.num_steps, functional.declared, task.clipped_apart)
    abstract = state.abstract_state(task, training, tx, mesh)
    layout = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    train_step = step.make_train_step(task, tx, training, run_config.optimizer, layout)
    evaluate = step.make_evaluation(task)
    model_config = config.to_dict(run_config.model)
    step_flops = task.flops().model if task.flops else 0.0
    # The guard comes before all work: a signal during compilation is answered after the first step, and one that comes
    # while the last checkpoint is being written does not tear it.
    with (
        start.only_one(workdir),
        preemption.PreemptionGuard() as guard,
        checkpointing.Checkpointer(workdir, training.keep_checkpoints) as checkpointer,
        jax.set_mesh(mesh),
    ):
        current = checkpointer.restore(abstract, model_config) or state.initial_state(task, training, tx, mesh)
        current = dataclasses.replace(current, frozen=dict(frozen))
        begun = int(current.step)
        tensorboard, writer = _begin(task, run_config, workdir, mesh, begun)
        with (
            _Recorder(task, training, writer, step_flops, mesh, begun) as recorder,
            profile.Profiler(training.profiled, workdir, begun) as profiler,
        ):
            take_steps = functools.partial(_take_steps, current, training, batches_from(begun), train_step)
            return take_steps(
                evaluate=lambda done, now: _log_evaluation(writer, done, evaluate(now, eval_batches())),
                listen=lambda done, now: _log_sounds(tensorboard, done, now, sounds),
                save=lambda now: _save(checkpointer, now, model_config, workdir),
                recorder=recorder,
                profiler=profiler,
                guard=guard,
            )


def _begin(
    task: state.Task, run_config: Any, workdir: pathlib.Path, mesh: jax.sharding.Mesh, done: int
) -> "tuple[events.EventWriter, metrics.MetricsWriter]":
    from musicgen_jax.training import events

    console.say_devices()
    axes = ", ".join(f"{name} {size}" for name, size in mesh.shape.items() if size > 1)
    where = f" on the mesh {axes}" if axes else ""
    num_frozen = sum(leaf.size for leaf in jax.tree.leaves(dict(task.functional.frozen)))
    beside = f", beside {num_frozen:,} that stay as they are" if num_frozen else ""
    num = task.functional.num_parameters()
    console.say(f"{num:,} parameters{beside}{where}; the first step compiles, and takes longer")
    if done:
        steps, left = run_config.training.num_steps, ""
        if done >= steps:
            left = f", and num_steps={steps} asks for no more: set --config.training.num_steps higher to train on"
        console.say(f"resuming from step {done}{left}")
    if jax.process_index() == 0:
        config.write_json(workdir / "config.json", run_config)
    tensorboard = events.EventWriter(workdir, done)
    return tensorboard, metrics.MetricsWriter(workdir / "metrics.jsonl", done, tensorboard.scalars)


def _take_steps(
    current, training, batches, train_step, evaluate, listen, save, recorder, profiler, guard
) -> state.TrainState:
    for done in range(int(current.step) + 1, training.num_steps + 1):
        # While the devices work on the step before.
        with recorder.speed.waiting("data"):
            batch = next(batches)
        with profiler.step(done) as results:
            current, step_metrics = train_step(current, batch)
            results(step_metrics)
        recorder.record(done, step_metrics)
        preempted, last = guard.reached(done), done == training.num_steps
        # What is logged of a step is written before its checkpoint: a run that resumes there misses nothing.
        if _due(done, training.eval_every, last) and not preempted:
            recorder.flush()
            with recorder.speed.waiting("evaluation"):
                evaluate(done, current)
        if _due(done, training.sample_every, False) and not preempted:
            recorder.flush()
            with recorder.speed.waiting("evaluation"):
                listen(done, current)
        if _due(done, training.checkpoint_every, last) or preempted:
            recorder.flush()
            with recorder.speed.waiting("checkpoint"):
                save(current)
        if preempted:
            console.say(f"{guard.reason}: saved step {done}; run the same command again to go on")
            break
    return current


def _save(checkpointer: checkpointing.Checkpointer, now: state.TrainState, model_config: dict, workdir: pathlib.Path):
    """Writes a checkpoint, and brings what lies beside it in a bucket to the same step."""
    checkpointer.save(now, model_config)
    if jax.process_index() == 0:
        buckets.push(workdir)


def _due(done: int, every: int, last: bool) -> bool:
    return every > 0 and (last or done % every == 0)


def _log_evaluation(writer: metrics.MetricsWriter, done: int, results: dict[str, Any]) -> None:
    if results:
        writer.write(done, {f"eval/{name}": float(value) for name, value in results.items()})


def _log_sounds(
    tensorboard: "events.EventWriter",
    done: int,
    now: state.TrainState,
    sounds: "Callable[[state.TrainState], events.Sounds] | None",
) -> None:
    if sounds is None:
        return
    try:
        tensorboard.sounds(done, sounds(now))
    except Exception as error:
        console.say_once(f"warning: no sounds of this run in TensorBoard's events ({error}); training goes on")


class _Recorder:
    """Fetches metrics one step late, so that the device never waits for the host; logs, shows progress, stops a run
    that diverges."""

    def __init__(
        self,
        task: state.Task,
        training: config.TrainingConfig,
        writer: metrics.MetricsWriter,
        step_flops: float,
        mesh: jax.sharding.Mesh,
        start: int,
    ):
        peak = throughput.peak_flops(mesh) if step_flops else 0.0
        self.speed = throughput.Throughput(task, step_flops, peak, start)
        self._task, self._training, self._writer = task, training, writer
        self._pending: tuple[int, dict[str, jax.Array]] | None = None
        self._progress = progress_report.Progress(
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
            averages = self._task.summarize(self._writer.averages())
            latest = {name: values[name] for name in LATEST}
            speed = self.speed.line(done)
            self._writer.write(done, averages | latest | speed)
            rate = progress_report.describe_speed(speed[f"{self._task.unit}_per_second"], self._task.unit)
            self._progress.note(f"{rate}, loss {averages['loss']:.4f}")
        self._progress.update()
