"""Times of several programs measured by turns, so that a busy machine slows all of them alike."""

import os
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from musicgen_jax import config


def limit_threads(threads: int) -> None:
    """Keeps this process to so many CPUs, of those it may use; 0 keeps to all. Call it before JAX finds its devices.

    XLA and torch both size their thread pools by it.

    Raises:
      ValueError: fewer CPUs than that, or a system that cannot tell.
    """
    config.require(threads >= 0, f"--threads={threads}: must be 0 (all CPUs) or more")
    if threads == 0:
        return
    config.require(hasattr(os, "sched_setaffinity"), f"--threads={threads}: works on Linux only; leave it out")
    cpus = sorted(os.sched_getaffinity(0))
    config.require(threads <= len(cpus), f"--threads={threads}: this process may use {len(cpus)} CPUs")
    os.sched_setaffinity(0, cpus[:threads])


def interleaved(programs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each program over `rounds` rounds; each must wait for its result. The first call is not timed.

    Args:
      programs: by name.
      rounds: in each of them every program runs once.
    """
    for run in programs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, run in programs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def matmul(size: int, dtype: jnp.dtype) -> tuple[Callable[[], object], float]:
    """A square matrix product as a program for `interleaved`, and its floating point operations."""
    x = jnp.full((size, size), 1 / size, dtype)
    product = jax.jit(lambda x: x @ x).lower(x).compile()
    return lambda: product(x).block_until_ready(), 2.0 * size**3
