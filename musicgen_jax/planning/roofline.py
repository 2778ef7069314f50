"""How long a step takes at least, and what holds it up."""

import dataclasses
import math

import jax
import numpy as np

from musicgen_jax.planning import chips, collectives, memory, topology, workload
from musicgen_jax.training import state


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds of one step, if each part of the chip ran at the data sheet's rate while the others work.

    Attributes:
      compute: matrix units, recomputation included.
      hbm: memory traffic.
      interconnect: the busiest links.
    """

    compute: float
    hbm: float
    interconnect: float

    @property
    def bound(self) -> str:
        """compute | hbm | interconnect: what takes longest."""
        return max(dataclasses.asdict(self), key=lambda name: getattr(self, name))

    @property
    def seconds(self) -> float:
        """Seconds of a step: those of what takes longest."""
        return getattr(self, self.bound)


def roofline(
    work: workload.Workload,
    abstract: state.TrainState,
    mesh: jax.sharding.Mesh,
    place: topology.Topology,
    found: list[collectives.Collective],
) -> Roofline:
    """Least times of a compiled step for computing, memory and network; `found` are its collectives."""
    chip = place.chip
    operations = (work.flops.model + work.flops.recomputed) / mesh.size
    return Roofline(
        compute=operations / chip.flops,
        hbm=hbm_bytes(work, abstract, mesh) / chip.hbm_bytes_per_second,
        interconnect=sum(
            one.bytes * one.count / bandwidth(one.axes, mesh, chip, place.shape, place.num_slices) for one in found
        ),
    )


def bandwidth(
    axes: tuple[str, ...], mesh: jax.sharding.Mesh, chip: chips.Chip, shape: tuple[int, ...], num_slices: int
) -> float:
    """Bytes a second that a chip can send to those that differ from it along these axes of the mesh.

    Through the network where they are on other slices or nodes. Within a TPU slice, by the links of those dimensions of
    the torus along which they lie, two a dimension; one where the dimension does not close to a ring. A ring closes
    along 16 chips of v5e and v6e, and along any multiple of 4 of v4 and v5p (whole cubes).
    """
    moved = [slice(None) if axis in axes else 0 for axis in mesh.axis_names]
    group = list(np.asarray(mesh.devices[tuple(moved)]).flat)
    if not chip.is_tpu:
        return chip.link_bytes_per_second if mesh.size <= chip.node_size else chip.network_bytes_per_second
    if num_slices > 1 and len({device.slice_index for device in group}) > 1:
        return chip.network_bytes_per_second
    spread = [len({device.coords[i] for device in group}) > 1 for i in range(len(shape))]
    cubes = all(size % 4 == 0 for size in shape)
    closed = [size == 16 if chip.torus_dimensions == 2 else cubes for size in shape]
    links = sum(used * (2 if ring else 1) for used, ring in zip(spread, closed, strict=True))
    return chip.link_bytes_per_second * max(links, 1) / (2 * len(shape))


def hbm_bytes(work: workload.Workload, abstract: state.TrainState, mesh: jax.sharding.Mesh) -> float:
    """Memory traffic of a chip in one step, an estimate.

    The optimizer reads parameters, moments, moving average and gradients and writes all but the last. Each micro-batch
    reads all weights, gathered and in the compute dtype, in each of its passes (forward, again where blocks are
    recomputed, backward for inputs and for weights), writes them once more when it gathers them, and writes the
    gradients. Activations of a prior: about 16 arrays of the residual's width and 12 of the attention's inner width a
    block and pass, read or written; of a VQ-VAE, see its task.
    """
    held = memory.bytes_per_chip((abstract.params, abstract.opt_state, abstract.ema_params))
    gradients = memory.bytes_per_chip(abstract.params)
    itemsize = np.dtype(work.run.training.compute_dtype).itemsize
    tensor = mesh.shape["tensor"]
    weights = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract.params)) * itemsize / tensor
    passes = 3 + (work.flops.recomputed > 0)
    accumulation = work.run.training.accumulation_steps
    optimizer = 2 * held + gradients
    micro = passes * 2 * weights + 2 * gradients
    return optimizer + accumulation * micro + passes * work.task.traffic * itemsize / mesh.size
