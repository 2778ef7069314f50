"""Meshes over fake CPU devices, and what cannot be one."""

import dataclasses
import itertools

import jax
import pytest

from musicgen_jax import config
from musicgen_jax.sharding import meshes


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (config.MeshConfig(), (1, 8, 1, 1)),
        (config.MeshConfig(fsdp=2, tensor=2), (1, 2, 2, 2)),
        (config.MeshConfig(data=1, fsdp=8), (1, 1, 8, 1)),
        (config.MeshConfig(replica=2, fsdp=2), (2, 2, 2, 1)),
    ],
)
def test_shape_and_axes(settings, shape):
    mesh = meshes.make_mesh(settings, jax.devices()[:8])
    assert tuple(mesh.shape.items()) == tuple(zip(meshes.AXES, shape, strict=True))
    assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}
    assert sorted(device.id for device in mesh.devices.flat) == list(range(8))


@pytest.mark.parametrize("settings", [config.MeshConfig(fsdp=3), config.MeshConfig(data=2), config.MeshConfig(fsdp=16)])
def test_sizes_that_do_not_cover_the_devices(settings):
    with pytest.raises(ValueError, match=r"replica=1 x data=-?\d x fsdp=\d+ x tensor=1 does not cover 8 .*data=-1"):
        meshes.make_mesh(settings, jax.devices()[:8])


@dataclasses.dataclass(frozen=True)
class SliceDevice:
    """What `mesh_utils` asks of a TPU chip."""

    id: int
    slice_index: int
    coords: tuple[int, int, int]
    platform: str = "tpu"
    device_kind: str = "TPU v5 lite"
    core_on_chip: int = 0
    process_index: int = 0


def two_slices() -> list[SliceDevice]:
    """Two v5e slices of 2 x 2 chips."""
    places = itertools.product(range(2), range(2), range(2))
    return [SliceDevice(id, index, (x, y, 0)) for id, (index, y, x) in enumerate(places)]


def test_replica_runs_over_slices_and_nothing_else_does():
    mesh = meshes.make_mesh(config.MeshConfig(replica=2, fsdp=4), two_slices())
    assert tuple(mesh.shape.values()) == (2, 1, 4, 1)
    slices = [[device.slice_index for device in half.flat] for half in mesh.devices]
    assert slices == [[0] * 4, [1] * 4]
    assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}


def test_slices_need_replicas():
    with pytest.raises(ValueError, match=r"mesh.replica=1 on 2 slices: .*--config.mesh.replica=2"):
        meshes.make_mesh(config.MeshConfig(fsdp=4), two_slices())


def test_single_device():
    assert meshes.single_device_mesh().size == 1


def test_batch():
    mesh = meshes.make_mesh(config.MeshConfig(fsdp=2, tensor=2), jax.devices()[:8])
    assert meshes.batch_sharding(mesh).shard_shape((8, 3)) == (2, 3)
    meshes.check_batch_size(8, mesh)
    with pytest.raises(ValueError, match=r"batch_size=6 .* replica x data x fsdp = 4"):
        meshes.check_batch_size(6, mesh)
    assert meshes.batch_sharding(meshes.make_mesh(config.MeshConfig(replica=2, fsdp=4))).shard_shape((8,)) == (1,)
