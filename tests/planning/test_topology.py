"""Topologies by name, and names that are none."""

import importlib.util

import jax
import pytest

from musicgen_jax.planning import chips, topology


def test_parse():
    assert topology.parse("v5p:4x4x8") == (chips.CHIPS["v5p"], (4, 4, 8))
    assert topology.parse("h100:8") == (chips.CHIPS["h100"], (8,))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5e", "write CHIP:SHAPE"),
        ("v5e:4x", "write CHIP:SHAPE"),
        ("v5e:0x4", "write CHIP:SHAPE"),
        ("v7:4x4", "chip 'v7': must be one of v4, v5e"),
        ("v5p:4x4", "a v5p topology has 3 dimensions, such as v5p:4x4x4"),
        ("h100:8x8", "a h100 topology has 1 dimension, such as h100:4"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(ValueError, match=message):
        topology.parse(name)


def test_gpus_are_fake_devices():
    place = topology.describe("a100:4", num_slices=2)
    assert len(place.devices) == 8
    assert place.estimate


def test_tpus_without_libtpu_name_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the TPU compiler, which is not installed: pip install \".\[tpu\]\""):
        topology.describe("v5e:4x4")


@pytest.mark.parametrize("chip", chips.CHIPS.values(), ids=chips.CHIPS)
def test_data_sheets_are_whole(chip):
    assert chip.flops > 1e14
    assert 10 * chips.GIB < chip.usable_bytes < chip.hbm_bytes
    assert chip.network_bytes_per_second < chip.link_bytes_per_second < chip.hbm_bytes_per_second
    assert chip.source


def test_describe_tpus():
    pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
    place = topology.describe("v5e:2x2", num_slices=2)
    assert [device.slice_index for device in place.devices] == [0] * 4 + [1] * 4
    assert not place.estimate
    assert len(topology.describe("v4:2x2x2").devices) == 8  # one a chip, though the chip has two cores
    with pytest.raises(ValueError, match="no topology that the TPU compiler knows"):
        topology.describe("v5e:3x5")
    assert jax.devices()[0].platform == "cpu"
