"""The device mesh: built here and nowhere else, so that every axis is `Auto` everywhere."""

import jax

from musicgen_jax import config

AXES = ("data", "fsdp", "tensor")


def make_mesh(mesh_config: config.MeshConfig, devices: list[jax.Device] | None = None) -> jax.sharding.Mesh:
    """Mesh of all devices with axes data x fsdp x tensor.

    Args:
      mesh_config: sizes; data = -1 takes what fsdp and tensor leave.
      devices: defaults to all devices of all processes.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    inner = mesh_config.fsdp * mesh_config.tensor
    data = len(devices) // inner if mesh_config.data == -1 else mesh_config.data
    if data * inner != len(devices):
        raise ValueError(
            f"mesh data={mesh_config.data} x fsdp={mesh_config.fsdp} x tensor={mesh_config.tensor} does not cover "
            f"{len(devices)} devices: the product must be {len(devices)} (data=-1 takes the rest)"
        )
    # jax.make_mesh lays the axes along a TPU's physical links.
    shape = (data, mesh_config.fsdp, mesh_config.tensor)
    return jax.make_mesh(shape, AXES, axis_types=(jax.sharding.AxisType.Auto,) * len(AXES), devices=devices)


def single_device_mesh() -> jax.sharding.Mesh:
    """Mesh of the first local device alone, for sampling and evaluation on one device."""
    return make_mesh(config.MeshConfig(data=1), jax.local_devices()[:1])


def batch_sharding(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
    """The leading axis of every batch array is divided over data x fsdp."""
    return jax.sharding.NamedSharding(mesh, jax.P(("data", "fsdp")))


def check_batch_size(batch_size: int, mesh: jax.sharding.Mesh) -> None:
    """Raises ValueError unless the global batch divides evenly over the mesh's batch axes and over the processes."""
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    if batch_size % ways or batch_size % jax.process_count():
        raise ValueError(
            f"data.batch_size={batch_size} must be divisible by data x fsdp = {ways} and by the "
            f"{jax.process_count()} processes"
        )
