"""Training on from given weights, in a workdir of its own."""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Iterator
from types import MappingProxyType

import jax

from musicgen_jax import config
from musicgen_jax.codes import code_dataset
from musicgen_jax.nn import modules
from musicgen_jax.sharding import meshes
from musicgen_jax.training import loop, start, state, step


def run_config(run: config.PriorTraining, codes: str, num_steps: int, learning_rate: float) -> config.PriorTraining:
    """The run that fine-tunes what `run` trained: on one device, no warm-up, the learning rate falling to a tenth.

    Args:
      run: its batch size, optimizer and precision are kept.
      codes: folder of the codes.
      num_steps: of the fine-tuning.
      learning_rate: at its beginning; 0 takes a tenth of the run's peak.

    Raises:
      UserError: a number that no run takes.
    """
    config.require(num_steps >= 0, f"`finetune_steps`={num_steps}: must be 0 (none) or more")
    config.require(
        0 <= learning_rate < math.inf,
        f"`learning_rate`={learning_rate}: must be 0 (a tenth of the peak) or more, and finite",
    )
    peak = learning_rate or run.optimizer.peak_learning_rate / 10
    schedule = {"peak_learning_rate": peak, "warmup_steps": 0, "decay": "cosine", "final_fraction": 0.1}
    steps = max(num_steps, 1)  # a run has one; without fine-tuning it is left to train_prior
    frequencies = {"checkpoint_every": steps, "eval_every": 0, "log_every": max(steps // 10, 1)}
    return dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, path=str(pathlib.Path(codes).absolute())),
        mesh=config.MeshConfig(),
        optimizer=dataclasses.replace(run.optimizer, **schedule),
        training=dataclasses.replace(run.training, num_steps=steps, keep_checkpoints=1, **frequencies),
        shard_sequence=False,
    )


def finetune(
    task: state.Task,
    run: config.PriorTraining,
    workdir: pathlib.Path,
    params: modules.Tree,
    train: bool,
    frozen: modules.Tree = MappingProxyType({}),
) -> None:
    """Writes `params` to `workdir` as the checkpoint of step 0, and trains on from there as any run does.

    The folder is that of a run like any other: train_prior may go on in it, given its number of heads.

    Args:
      task: of `run`.
      run: from `run_config`, its model as large as `params`.
      workdir: gets config.json, checkpoints/ and, trained, metrics.jsonl.
      params: the weights to begin with.
      train: False leaves it at step 0.
      frozen: parameters that the task's module has beside those that learn.

    Raises:
      UserError: SIGTERM came before the last step.
    """
    mesh = meshes.single_device_mesh()
    start.from_weights(task, run, workdir, mesh, params)
    config.write_json(workdir / "config.json", run)
    if train:
        batches = code_dataset.training_batches(run, mesh)
        held_out = code_dataset.validation_batches(run, mesh)
        beside = jax.device_put(dict(frozen), task.functional.frozen_shardings(task.axis_rules, mesh))
        done = int(loop.train(task, run, workdir, mesh, batches, held_out, frozen=beside).step)
        steps = run.training.num_steps
        config.require(done == steps, f"stopped at step {done} of {steps}: run the command again")


def windows(run: config.PriorTraining, num: int) -> Iterator[step.Batch]:
    """About `num` random windows of the training split, in batches of the run's size; the same ones every time."""
    batches = code_dataset.training_batches(run, meshes.single_device_mesh())
    return itertools.islice(batches(0), -(-num // run.data.batch_size))
