"""Links that a mesh axis may use, and what is called the bound."""

import dataclasses

import numpy as np
import pytest

from musicgen_jax.planning import chips, roofline
from musicgen_jax.training import throughput


@dataclasses.dataclass(frozen=True)
class Place:
    coords: tuple[int, int, int]
    slice_index: int = 0


@dataclasses.dataclass(frozen=True)
class Grid:
    """What `bandwidth` asks of a mesh."""

    devices: np.ndarray
    axis_names: tuple[str, ...] = ("replica", "data", "fsdp", "tensor")

    @property
    def size(self) -> int:
        return self.devices.size


def grid(shape: tuple[int, ...], torus: tuple[int, ...], num_slices: int = 1) -> Grid:
    """Chips of slices of that torus, in order, as a mesh of that shape."""
    devices = np.empty(shape, object)
    places = [(index, place) for index in range(num_slices) for place in np.ndindex(torus)]
    devices.flat[:] = [Place((*place, 0), index) for index, place in places]
    return Grid(devices)


V5E = chips.CHIPS["v5e"]  # four links, 200e9 bytes a second together


@pytest.mark.parametrize(
    ("shape", "torus", "axes", "expected"),
    [
        ((1, 1, 16, 1), (4, 4), ("fsdp",), 100e9),  # both dimensions, one link each: no ring at 4
        ((1, 1, 256, 1), (16, 16), ("fsdp",), 200e9),  # both dimensions, rings
        ((1, 16, 16, 1), (16, 16), ("fsdp",), 100e9),  # one dimension, a ring
        ((1, 4, 4, 1), (4, 4), ("data",), 50e9),
        ((1, 4, 4, 1), (4, 4), ("data", "fsdp"), 100e9),
    ],
)
def test_bandwidth_within_a_slice(shape, torus, axes, expected):
    assert roofline.bandwidth(axes, grid(shape, torus), V5E, torus, 1) == expected


def test_bandwidth_between_slices():
    mesh = grid((2, 1, 16, 1), (4, 4), num_slices=2)
    assert roofline.bandwidth(("replica",), mesh, V5E, (4, 4), 2) == V5E.network_bytes_per_second
    assert roofline.bandwidth(("fsdp",), mesh, V5E, (4, 4), 2) == 100e9


def test_whole_cubes_close_to_rings():
    devices = np.empty((1, 1, 64, 1), object)
    devices.flat[:] = [Place(place) for place in np.ndindex(4, 4, 4)]
    v5p = chips.CHIPS["v5p"]
    assert roofline.bandwidth(("fsdp",), Grid(devices), v5p, (4, 4, 4), 1) == v5p.link_bytes_per_second


def test_gpus_leave_the_node_for_the_network():
    h100, fsdp = chips.CHIPS["h100"], ("fsdp",)
    assert roofline.bandwidth(fsdp, grid((1, 1, 8, 1), (8,)), h100, (8,), 1) == h100.link_bytes_per_second
    assert roofline.bandwidth(fsdp, grid((1, 1, 16, 1), (16,)), h100, (16,), 1) == h100.network_bytes_per_second


def test_bound_is_what_takes_longest():
    roof = roofline.Roofline(compute=1.0, hbm=3.0, interconnect=2.0)
    assert (roof.bound, roof.seconds) == ("hbm", 3.0)


def test_peaks_are_those_that_training_reports_against():
    assert {chip.flops for chip in chips.CHIPS.values()} == set(throughput.DATASHEET_FLOPS.values())
