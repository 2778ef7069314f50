"""How a run begins: alone in its folder; from given weights instead of random ones."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.runtime import folder_lock
from musicgen_jax.training import checkpointing, optimizer, state

_held: set[pathlib.Path] = set()  # folders that this process keeps other runs out of


@contextlib.contextmanager
def only_one(workdir: pathlib.Path) -> Iterator[None]:
    """Makes the folder of a run, and keeps other runs out of it. Process 0 does so for all; within another such block,
    there is nothing left to do.

    Raises:
      UserError: another run writes there.
    """
    place = workdir.resolve()
    if place in _held or jax.process_index() != 0:
        yield
        return
    with folder_lock.hold(workdir, "training"):
        _held.add(place)
        try:
            yield
        finally:
            _held.remove(place)


def from_weights(
    task: state.Task,
    run_config: Any,
    workdir: pathlib.Path,
    mesh: jax.sharding.Mesh,
    params: modules.Tree,
) -> None:
    """Writes `params` as the checkpoint of step 0, from which `loop.train` resumes; nothing where there is one already.

    Args:
      task: the model that they are parameters of.
      run_config: as `loop.train` takes it.
      workdir: of the run.
      mesh: devices.
      params: nested dict of arrays, on any device.

    Raises:
      UserError: another run trains there, or all checkpoints there are damaged.
    """
    training = run_config.training
    with only_one(workdir), checkpointing.Checkpointer(workdir, training.keep_checkpoints) as checkpointer:
        if checkpointer.latest_step() is not None:
            return
        declared = task.functional.declared
        tx = optimizer.make_optimizer(run_config.optimizer, training.num_steps, declared, task.clipped_apart)
        current = state.initial_state(task, training, tx, mesh)
        params = jax.device_put(params, jax.tree.map(lambda leaf: leaf.sharding, current.params))
        ema_params = jax.tree.map(jnp.copy, params) if training.ema_decay else {}
        current = dataclasses.replace(current, params=params, ema_params=ema_params)
        checkpointer.save(current, config.to_dict(run_config.model))
