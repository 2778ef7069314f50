"""The training step, compiled for devices that are not there."""

import dataclasses
import re

import jax
import optax

from musicgen_jax.planning import memory, workload
from musicgen_jax.sharding import meshes
from musicgen_jax.training import optimizer, state, step

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Outcome of compiling a step for devices that are not there.

    Attributes:
      peak_bytes: of a device's memory at one time.
      out_of_memory: the compiler's words where it gave up, else "".
      program: text of the optimised HLO; "" where the compiler gave up.
    """

    peak_bytes: int
    out_of_memory: str
    program: str


def abstract_state(work: workload.Workload, mesh: jax.sharding.Mesh) -> state.TrainState:
    """The state as ShapeDtypeStructs with shardings.

    Raises:
      UserError: a parameter that the mesh cannot divide.
    """
    return state.abstract_state(work.task, work.run.training, _optimizer(work), mesh)


def _optimizer(work: workload.Workload) -> optax.GradientTransformation:
    task, num_steps = work.task, work.run.training.num_steps
    return optimizer.make_optimizer(work.run.optimizer, num_steps, task.functional.declared, task.clipped_apart)


def compile_step(work: workload.Workload, abstract: state.TrainState, mesh: jax.sharding.Mesh) -> Compiled:
    """Compiles the step that the trainer runs, as the trainer does.

    Args:
      work: model, loss and batch.
      abstract: from `abstract_state`.
      mesh: of real or compile-only devices.

    Raises:
      UserError: the batch does not divide over the mesh.
    """
    meshes.check_batch_size(work.run.data.batch_size, mesh)
    training = work.run.training
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    train_step = step.make_train_step(work.task, _optimizer(work), training, work.run.optimizer, shardings)
    divided = meshes.batch_sharding(mesh)
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=divided), dict(work.task.batch))
    with jax.set_mesh(mesh):
        lowered = train_step.lower(abstract, batch)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        used = bytes_used(str(error), memory.bytes_per_chip(abstract))
        if used is None:
            raise
        return Compiled(used, str(error).splitlines()[0], "")
    stats = compiled.memory_analysis()
    # XLA's compiler for CPUs leaves what a step allocates out of its peak; its sum is an upper bound.
    allocated = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    on_cpu = allocated + stats.temp_size_in_bytes
    peak = stats.peak_memory_in_bytes if mesh.devices.flat[0].platform == "tpu" else on_cpu
    return Compiled(peak, "", compiled.as_text())


def bytes_used(message: str, state_bytes: int) -> int | None:
    """What the TPU compiler says of a program that does not fit; None in any other message.

    It says "Used 20.46G of 15.75G hbm", or, where what the step computes with is too much already, "required for HLO
    temporaries (42.42G) exceeds available HBM", to which the `state_bytes` come.
    """
    found = re.search(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm", message)
    if found:
        return round(float(found[1]) * _UNITS[found[2]])
    found = re.search(r"HLO temporaries \(([\d.]+)([KMGT]?)\) exceeds available HBM", message)
    return round(float(found[1]) * _UNITS[found[2]]) + state_bytes if found else None
