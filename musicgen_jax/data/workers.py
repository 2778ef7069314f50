"""An ordered map over processes: the same results in the same order, whatever the number of workers."""

import collections
import concurrent.futures
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import process
from typing import TypeVar

from musicgen_jax.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


def count(runner: str) -> int:
    """Number of worker processes for a `--runner`: 0 for "serial", one for each core at our disposal for "parallel".

    Raises:
      UserError: another runner.
    """
    if runner == "serial":
        return 0
    if runner != "parallel":
        raise UserError(f"runner is {runner!r}; it must be serial or parallel")
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], num_workers: int) -> Iterator[Result]:
    """Yields function(item) for each item in order; at most 2 * num_workers results wait at any time.

    Args:
      function: at module level, or a functools.partial of such a one: it travels to the workers, as do the items.
      items: what to apply it to.
      num_workers: processes; 0 calls the function here.

    Raises:
      UserError: a worker died (out of memory, or a decoder crashed).
    """
    if num_workers == 0:
        yield from map(function, items)
        return
    # Spawned, not forked: a fork of a process in which JAX runs its threads can hang.
    context = multiprocessing.get_context("spawn")
    executor = concurrent.futures.ProcessPoolExecutor(num_workers, context, initializer=_start_worker)
    remaining = iter(items)
    waiting = collections.deque(
        executor.submit(function, item) for item in itertools.islice(remaining, 2 * num_workers)
    )
    try:
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(executor.submit(function, item) for item in itertools.islice(remaining, 1))
    except process.BrokenProcessPool as error:
        raise UserError("a worker process died; run again with --runner=serial to see at which file") from error
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # Ctrl-C is for the parent, which stops its workers; and a worker must not outlive a parent that was killed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
