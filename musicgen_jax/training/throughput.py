"""How fast training goes, how near that is to what the devices can do, and what it waits for."""

import contextlib
import functools
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from musicgen_jax import config
from musicgen_jax.sharding import meshes
from musicgen_jax.training import state

# Operations a second of dense matrix products with 16-bit inputs, as the makers' data sheets have them, by JAX's name
# of the device: Google Cloud's page of each TPU; NVIDIA's sheets of the SXM modules.
DATASHEET_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,  # v5p
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA H100 80GB HBM3": 989.4e12,
    "NVIDIA H200": 989.4e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "Tesla V100-SXM2-32GB": 125e12,
}
MATMUL_SIZE = 1024  # of the product that is measured where no data sheet says
MEASURING_SECONDS = 0.2


def peak_flops(mesh: jax.sharding.Mesh) -> float:
    """Operations a second of all devices of `mesh` together: by data sheet, for other devices by measurement.

    The data sheet's figure is that of 16-bit inputs whatever type the run computes in. CPU devices share the cores of
    their process, so they count once.
    """
    device = mesh.local_devices[0]
    if device.device_kind in DATASHEET_FLOPS:
        return DATASHEET_FLOPS[device.device_kind] * mesh.size
    sharing = len(mesh.local_devices) if device.platform == "cpu" else 1
    return measured_flops(device) * mesh.size / sharing


@functools.cache
def measured_flops(device: jax.Device) -> float:
    """Operations a second of a square float32 matrix product on `device`, the fastest of some in a fifth of a second;
    measured once."""
    # The mesh of the run, which may be set here, holds devices of other processes too.
    with jax.set_mesh(meshes.make_mesh(config.MeshConfig(), [device])):
        x = jnp.full((MATMUL_SIZE, MATMUL_SIZE), 1 / MATMUL_SIZE, jnp.float32)
        product = jax.jit(lambda x: x @ x)
        product(x).block_until_ready()  # compiles
        fastest, deadline = float("inf"), time.perf_counter() + MEASURING_SECONDS
        while True:
            start = time.perf_counter()
            product(x).block_until_ready()
            end = time.perf_counter()
            fastest = min(fastest, end - start)
            if end > deadline:
                return 2.0 * MATMUL_SIZE**3 / fastest


class Throughput:
    """Counts the time between the lines of metrics.jsonl, and how much of it the loop waited for data and checkpoints.

    What compiling takes is left out where there are other steps to measure, and evaluation always. A wait is time in
    which the loop does not go on; the devices may still be busy with the step before, so it bounds what they idle.

    Args:
      task: units of a step.
      flops: operations of a step.
      peak: operations a second of all devices; 0 where the operations are not known.
      step: steps done before.
    """

    def __init__(self, task: state.Task, flops: float, peak: float, step: int):
        self._task, self._flops, self._peak = task, flops, peak
        self._compiled = False
        self._begin(step)

    def _begin(self, step: int) -> None:
        self._step, self._since = step, time.perf_counter()
        self._waited = {"data": 0.0, "checkpoint": 0.0, "evaluation": 0.0}

    @contextlib.contextmanager
    def waiting(self, kind: str) -> Iterator[None]:
        """Counts what runs inside as a wait for `kind`: data, checkpoint or evaluation."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._waited[kind] += time.perf_counter() - start

    def finished(self, step: int) -> None:
        """Takes note that the devices are done with `step`."""
        if not self._compiled:
            self._compiled = True
            self._first_line = self._line(step)
            self._begin(step)

    def line(self, step: int) -> dict[str, float]:
        """Since the last call: mean seconds of a step, units a second, share of the peak (where the operations of a
        step are known), and the fractions of the time spent waiting."""
        values = self._line(step) if step > self._step else self._first_line
        self._begin(step)
        return values

    def _line(self, step: int) -> dict[str, float]:
        seconds = time.perf_counter() - self._since - self._waited["evaluation"]
        step_seconds = seconds / (step - self._step)
        values = {
            "step_seconds": step_seconds,
            f"{self._task.unit}_per_second": self._task.units_per_step / step_seconds,
            "data_wait_fraction": self._waited["data"] / seconds,
            "checkpoint_wait_fraction": self._waited["checkpoint"] / seconds,
        }
        if self._peak:
            values["share_of_peak"] = self._flops / (step_seconds * self._peak)
        return values
