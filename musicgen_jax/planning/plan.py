"""A config and a topology -> what the run will need and how fast it can be."""

import dataclasses
from typing import Any

import jax

from musicgen_jax import config
from musicgen_jax.planning import (
    advice,
    checkpoint_interval,
    collectives,
    compilation,
    data_sizes,
    memory,
    roofline,
    topology,
    workload,
)
from musicgen_jax.runtime import console
from musicgen_jax.sharding import meshes
from musicgen_jax.training import state

DAY = 86_400.0
RESTART_SECONDS = 600.0  # new machines, compilation, reading the checkpoint


@dataclasses.dataclass(frozen=True)
class Question:
    """The topology and the costs that a run is planned for.

    Attributes:
      topology: "v5e:4x4" or "h100:8".
      num_slices: of that topology, joined by the network.
      sequences_per_chip: examples a chip; sets the batch size; 0 leaves the config's.
      mtbf_hours: mean time between failures of one chip.
      checkpoint_seconds: by which a checkpoint holds up training; 0 estimates it.
      music: to train on, whose bytes are told then.
    """

    topology: str
    num_slices: int = 1
    sequences_per_chip: int = 0
    mtbf_hours: float = 50_000.0
    checkpoint_seconds: float = 0.0
    music: data_sizes.Collection | None = None


def plan(run: workload.Run, question: Question) -> dict[str, Any]:
    """Compiles the training step for the topology and reports; allocates nothing on any device.

    Where `run.mesh` is left at its defaults, `fsdp` takes as many chips of a slice as divide the parameters, `replica`
    the slices. A GPU's memory is estimated: with XLA's compiler for CPUs, which keeps some activations in float32 and
    has no fused attention.

    Returns:
      The JSON object that `musicgen_jax.plan` prints. The step's time is the roofline's, a lower bound: every rate at
      its peak, everything overlapped.

    Raises:
      UserError: a bad topology, libtpu that is missing, a batch or a parameter that does not divide.
    """
    place = topology.describe(question.topology, question.num_slices)
    work = workload.workload(_with_batch(run, question.sequences_per_chip * len(place.devices)))
    sizes = advice.fsdp_sizes(len(place.devices), work, _with_replicas(run.mesh, question.num_slices))
    mesh_config = _chosen(run.mesh, question.num_slices, sizes)
    mesh = meshes.make_mesh(mesh_config, place.devices)
    meshes.check_batch_size(work.run.data.batch_size, mesh)
    console.say_devices()  # which the chips that are planned for are not
    abstract = compilation.abstract_state(work, mesh)
    compiled = compilation.compile_step(work, abstract, mesh)
    fits = not compiled.out_of_memory and compiled.peak_bytes <= place.chip.usable_bytes
    larger = next((size for size in sizes if size > mesh.shape["fsdp"]), None)
    return {
        "topology": question.topology,
        "num_slices": question.num_slices,
        "chips": len(place.devices),
        "mesh": dict(mesh.shape),
        "batch_size": work.run.data.batch_size,
        "parameters": work.task.functional.num_parameters(),
        "bytes_per_chip": memory.breakdown(work, abstract, mesh, compiled.peak_bytes),
        "hbm_bytes_per_chip": place.chip.hbm_bytes,
        "usable_hbm_bytes_per_chip": place.chip.usable_bytes,
        "fits": fits,
        "estimate": place.estimate,
        "change": [] if fits else advice.remedies(work, mesh, larger),
        "warnings": advice.warnings(work, mesh),
        "out_of_memory": compiled.out_of_memory,
        **_speed(work, abstract, mesh, place, compiled),
        "checkpoints": _checkpoints(abstract, mesh, question) | data_sizes.checkpoint(abstract, work.run),
        **({"data": data_sizes.sizes(work, question.music)} if question.music else {}),
        "chip": dataclasses.asdict(place.chip),
    }


def plan_data(run: workload.Run, music: data_sizes.Collection) -> dict[str, Any]:
    """What the data of a run and its checkpoints take, without chips: "parameters", "data" and "checkpoints" of `plan`,
    the latter of a state that nothing divides. Compiles nothing."""
    work = workload.workload(run)
    abstract = compilation.abstract_state(work, meshes.single_device_mesh())
    return {
        "parameters": work.task.functional.num_parameters(),
        "data": data_sizes.sizes(work, music),
        "checkpoints": {"state_bytes": data_sizes.state_bytes(abstract)} | data_sizes.checkpoint(abstract, work.run),
    }


def _with_batch(run: workload.Run, batch_size: int) -> workload.Run:
    return dataclasses.replace(run, data=dataclasses.replace(run.data, batch_size=batch_size)) if batch_size else run


def _with_replicas(mesh_config: config.MeshConfig, num_slices: int) -> config.MeshConfig:
    replica = num_slices if mesh_config.replica == 1 else mesh_config.replica
    return dataclasses.replace(mesh_config, replica=replica)


def _chosen(mesh_config: config.MeshConfig, num_slices: int, sizes: list[int]) -> config.MeshConfig:
    """The mesh that the config asks for, or where it asks for none, the largest fsdp."""
    chosen = _with_replicas(mesh_config, num_slices)
    if (mesh_config.data, mesh_config.fsdp) == (-1, 1) and sizes:
        chosen = dataclasses.replace(chosen, fsdp=sizes[0])
    return chosen


def _speed(
    work: workload.Workload,
    abstract: state.TrainState,
    mesh: jax.sharding.Mesh,
    place: topology.Topology,
    compiled: compilation.Compiled,
) -> dict[str, Any]:
    """Operations, traffic and the time of a step; without a compiled program, the interconnect's part is unknown."""
    found = collectives.read(compiled.program, dict(mesh.shape)) if compiled.program else []
    roof = roofline.roofline(work, abstract, mesh, place, found)
    flops = work.flops.model / mesh.size
    return {
        "flops_per_step_per_chip": flops,
        "recomputed_flops_per_step_per_chip": work.flops.recomputed / mesh.size,
        "collective_bytes_per_chip": collectives.bytes_by_axis(found) if compiled.program else None,
        "collectives_per_step": sum(one.count for one in found) if compiled.program else None,
        "seconds_at_peak": dataclasses.asdict(roof) | ({} if compiled.program else {"interconnect": None}),
        "bound": roof.bound,
        "step_seconds": roof.seconds,
        "share_of_peak": flops / place.chip.flops / roof.seconds,
        "tokens_per_step": work.tokens,
        "tokens_per_day": work.tokens * DAY / roof.seconds,
    }


def _checkpoints(abstract: state.TrainState, mesh: jax.sharding.Mesh, question: Question) -> dict[str, float]:
    """The interval that loses least, by Daly's formula."""
    # Saved in the background: training waits only while the state is copied to the host, over PCIe at 8 GB/s a chip.
    seconds = question.checkpoint_seconds or max(memory.bytes_per_chip(abstract) / 8e9, 0.1)
    failure = question.mtbf_hours * 3600 / mesh.size
    interval = checkpoint_interval.best_interval(seconds, failure)
    return {
        "state_bytes": data_sizes.state_bytes(abstract),
        "checkpoint_seconds": seconds,
        "mtbf_hours_per_chip": question.mtbf_hours,
        "mean_hours_between_failures": failure / 3600,
        "best_interval_seconds": interval,
        "lost_share_of_time": checkpoint_interval.lost_share(interval, seconds, failure, RESTART_SECONDS),
    }
