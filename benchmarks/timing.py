"""Times of several programs measured by turns, so that a busy machine slows all of them alike."""

import os
import statistics
from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks import sides
from musicgen_jax import config

WARM_UP_ROUNDS = 3  # the first compiles what is compiled late; until the third, heaps grow


def limit_threads(threads: int) -> None:
    """Keeps this process to so many CPUs, of those it may use; 0 keeps to all. Call it before JAX finds its devices.

    XLA and torch both size their thread pools by it.

    Raises:
      UserError: fewer CPUs than that, or a system that cannot tell.
    """
    config.require(threads >= 0, f"--threads={threads}: must be 0 (all CPUs) or more")
    if threads == 0:
        return
    config.require(hasattr(os, "sched_setaffinity"), f"--threads={threads}: works on Linux only; leave it out")
    cpus = sorted(os.sched_getaffinity(0))
    config.require(threads <= len(cpus), f"--threads={threads}: this process may use {len(cpus)} CPUs")
    os.sched_setaffinity(0, cpus[:threads])


def interleaved(programs: sides.Programs, rounds: int, others: sides.Timed | None = None) -> dict[str, float]:
    """Median seconds of each program over `rounds` rounds, after WARM_UP_ROUNDS that do not count.

    Args:
      programs: by name; each must wait for its result.
      rounds: in each of them every program runs once.
      others: programs of other processes, of `sides.apart`.
    """
    watched = sides.timed(programs) | (others or {})
    seconds: dict[str, list[float]] = {name: [] for name in watched}
    for _ in range(WARM_UP_ROUNDS + rounds):
        for name, run in watched.items():
            seconds[name].append(run())
    return {name: statistics.median(times[WARM_UP_ROUNDS:]) for name, times in seconds.items()}


def matmul(size: int, dtype: jnp.dtype) -> tuple[Callable[[], object], float]:
    """A square matrix product as a program for `interleaved`, and its floating point operations."""
    x = jnp.full((size, size), 1 / size, dtype)
    product = jax.jit(lambda x: x @ x).lower(x).compile()
    return lambda: product(x).block_until_ready(), 2.0 * size**3
