"""Meshes over fake CPU devices, and what cannot be one."""

import jax
import pytest

from musicgen_jax import config
from musicgen_jax.sharding import mesh as mesh_lib


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (config.MeshConfig(), (8, 1, 1)),
        (config.MeshConfig(fsdp=2, tensor=2), (2, 2, 2)),
        (config.MeshConfig(data=1, fsdp=8), (1, 8, 1)),
    ],
)
def test_shape_and_axes(settings, shape):
    mesh = mesh_lib.make_mesh(settings, jax.devices()[:8])
    assert tuple(mesh.shape.items()) == tuple(zip(mesh_lib.AXES, shape, strict=True))
    assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}
    assert sorted(device.id for device in mesh.devices.flat) == list(range(8))


@pytest.mark.parametrize("settings", [config.MeshConfig(fsdp=3), config.MeshConfig(data=2), config.MeshConfig(fsdp=16)])
def test_sizes_that_do_not_cover_the_devices(settings):
    with pytest.raises(ValueError, match=r"fsdp=\d+ x tensor=1 does not cover 8 devices: .*data=-1"):
        mesh_lib.make_mesh(settings, jax.devices()[:8])


def test_single_device():
    assert mesh_lib.single_device_mesh().size == 1


def test_batch():
    mesh = mesh_lib.make_mesh(config.MeshConfig(fsdp=2, tensor=2), jax.devices()[:8])
    assert mesh_lib.batch_sharding(mesh).shard_shape((8, 3)) == (2, 3)
    mesh_lib.check_batch_size(8, mesh)
    with pytest.raises(ValueError, match=r"batch_size=6 .* data x fsdp = 4"):
        mesh_lib.check_batch_size(6, mesh)
