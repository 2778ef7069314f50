"""The device mesh: built here and nowhere else, so that every axis is `Auto` everywhere."""

import math
from collections.abc import Sequence

import jax
from jax.experimental import mesh_utils

from musicgen_jax import config
from musicgen_jax.runtime.errors import UserError

AXES = ("replica", "data", "fsdp", "tensor")
BATCH_AXES = AXES[:3]  # the batch is divided over them


def make_mesh(mesh_config: config.MeshConfig, devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
    """Mesh of all devices with axes replica x data x fsdp x tensor.

    Where the devices are those of several TPU slices, `replica` runs over the slices, through the data center's
    network, and the other axes stay within a slice, on its own links.

    Args:
      mesh_config: sizes; data = -1 takes what the other axes leave.
      devices: defaults to all devices of all processes.

    Raises:
      UserError: the sizes do not multiply to the number of devices, or `replica` is no multiple of the slices.
    """
    devices = jax.devices() if devices is None else devices
    shape = _shape(mesh_config, len(devices))
    axis_types = (jax.sharding.AxisType.Auto,) * len(AXES)
    slices = _num_slices(devices)
    if slices == 1:
        # jax.make_mesh lays the axes along a TPU's physical links.
        return jax.make_mesh(shape, AXES, axis_types=axis_types, devices=devices)
    if mesh_config.replica % slices:
        raise UserError(
            f"mesh.replica={mesh_config.replica} on {slices} slices: must be a multiple of the slices, since only the "
            f"gradients should cross the network between them; pass --config.mesh.replica={slices}"
        )
    within = (mesh_config.replica // slices, *shape[1:])
    grid = mesh_utils.create_hybrid_device_mesh(
        within, (slices, 1, 1, 1), devices, allow_split_physical_axes="lite" in devices[0].device_kind
    )
    return jax.sharding.Mesh(grid, AXES, axis_types=axis_types)


def _shape(mesh_config: config.MeshConfig, num_devices: int) -> tuple[int, int, int, int]:
    replica, fsdp, tensor = mesh_config.replica, mesh_config.fsdp, mesh_config.tensor
    rest = replica * fsdp * tensor
    data = num_devices // rest if mesh_config.data == -1 else mesh_config.data
    if data * rest != num_devices:
        named = " x ".join(f"{axis}={getattr(mesh_config, axis)}" for axis in AXES)
        raise UserError(
            f"mesh {named} does not cover {num_devices} devices: the product must be {num_devices} (data=-1 takes the "
            "rest)"
        )
    return replica, data, fsdp, tensor


def _num_slices(devices: Sequence[jax.Device]) -> int:
    """Number of TPU slices among the devices; other devices are told apart by process only, and count as one."""
    if devices[0].platform != "tpu":
        return 1
    return len({getattr(device, "slice_index", 0) for device in devices})


def single_device_mesh() -> jax.sharding.Mesh:
    """Mesh of the first local device alone, for sampling and evaluation on one device."""
    return make_mesh(config.MeshConfig(data=1), jax.local_devices()[:1])


def platform() -> str:
    """Kind of the devices that a program is being traced for: "cpu", "gpu" or "tpu".

    They are those of the mesh in context, which need not be there; without a mesh, JAX's default.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device else jax.default_backend()


def batch_sharding(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
    """The leading axis of every batch array is divided over replica x data x fsdp."""
    return jax.sharding.NamedSharding(mesh, jax.P(BATCH_AXES))


def batch_ways(mesh: jax.sharding.Mesh) -> int:
    """Parts that a batch is divided into."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def check_batch_size(batch_size: int, mesh: jax.sharding.Mesh) -> None:
    """Raises UserError unless the global batch divides evenly over the mesh's batch axes and over the processes."""
    ways = batch_ways(mesh)
    if batch_size % ways or batch_size % jax.process_count():
        raise UserError(
            f"data.batch_size={batch_size} must be divisible by {' x '.join(BATCH_AXES)} = {ways} and by the "
            f"{jax.process_count()} processes"
        )
