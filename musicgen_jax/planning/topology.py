"""Accelerators that need not be there: TPU slices as the TPU compiler knows them, GPUs as so many fake CPU devices."""

import contextlib
import dataclasses
import importlib.util
import os
import re

import jax
from jax.experimental import topologies

from musicgen_jax import config
from musicgen_jax.planning import chips
from musicgen_jax.runtime.errors import UserError

# libtpu describes slices and compiles for them without one; else it looks for a TPU, and one process at a time may.
_COMPILE_ONLY = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5e-8",
    "TPU_MIN_LOG_LEVEL": "3",
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices to compile for.

    Attributes:
      name: "v5e:4x4" or "h100:8".
      chip: what each of them is.
      devices: one a chip, over all slices; none of them can run anything.
      num_slices: slices that the data center's network joins.
      shape: chips of one slice along each dimension.
    """

    name: str
    chip: chips.Chip
    devices: tuple[jax.Device, ...]
    num_slices: int
    shape: tuple[int, ...]

    @property
    def estimate(self) -> bool:
        """Whether the memory is not that of the compiler for this chip, but of XLA's for CPUs."""
        return not self.chip.is_tpu


def parse(name: str) -> tuple[chips.Chip, tuple[int, ...]]:
    """ "v5e:4x4" -> (the chip, (4, 4)).

    Raises:
      UserError: not CHIP:AxB (TPUs: two dimensions for v5e and v6e, three for v4 and v5p) or CHIP:N (GPUs).
    """
    found = re.fullmatch(r"([a-z0-9]+):([1-9]\d*(?:x[1-9]\d*)*)", name)
    config.require(
        found is not None,
        f"`topology`={name!r}: write CHIP:SHAPE, such as v5e:4x4, v5p:4x4x4 or h100:8; chips: {', '.join(chips.CHIPS)}",
    )
    chip = chips.chip(found[1])
    shape = tuple(int(size) for size in found[2].split("x"))
    wanted = chip.torus_dimensions or 1
    config.require(
        len(shape) == wanted,
        f"`topology`={name!r}: a {chip.name} topology has {wanted} dimension{'s' if wanted > 1 else ''}, such as "
        f"{chip.name}:{'x'.join(['4'] * wanted)}",
    )
    return chip, shape


def describe(name: str, num_slices: int = 1) -> Topology:
    """The devices of a topology. Call it before anything asks JAX for a device.

    Raises:
      UserError: a bad name, a shape that the chip does not come in, or TPUs without libtpu.
    """
    config.require(num_slices >= 1, f"`num_slices`={num_slices}: must be at least 1")
    chip, shape = parse(name)
    jax.config.update("jax_platforms", "cpu")  # nothing runs, so no accelerator of this machine need start
    devices = _tpu_devices(name, chip, num_slices) if chip.is_tpu else _fake_devices(shape[0] * num_slices)
    return Topology(name, chip, devices, num_slices, shape)


def _tpu_devices(name: str, chip: chips.Chip, num_slices: int) -> tuple[jax.Device, ...]:
    config.require(
        importlib.util.find_spec("libtpu") is not None,
        f'`topology`={name}: needs the TPU compiler, which is not installed: pip install ".[tpu]"',
    )
    for variable, value in _COMPILE_ONLY.items():
        os.environ.setdefault(variable, value)
    options = {"chip_config_name": "megacore"} if chip.name == "v4" else {}  # one device a chip, as on the real one
    if num_slices > 1:
        options["num_slices"] = num_slices
    try:
        return tuple(topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices)
    except RuntimeError as error:  # NotImplementedError, for a name that it cannot read, is one too
        raise UserError(f"`topology`={name!r} is no topology that the TPU compiler knows: {error}") from error


def _fake_devices(count: int) -> tuple[jax.Device, ...]:
    with contextlib.suppress(RuntimeError):  # JAX has started: there are as many as there are
        jax.config.update("jax_num_cpu_devices", max(count, jax.config.jax_num_cpu_devices))
    devices = jax.devices("cpu")
    config.require(len(devices) >= count, f"{count} devices were asked for, and JAX has started with {len(devices)}")
    return tuple(devices[:count])
