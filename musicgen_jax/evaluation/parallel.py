"""The same measure of many clips on all cores, with only as many of them in memory as there are cores."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import threadpoolctl

Item = TypeVar("Item")
Found = TypeVar("Found")
MAX_WORKERS = 8  # memory is that of so many clips


def ordered(measure: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
    """`measure` of each item, in their order; while some are measured the next ones are made.

    Each is measured by one thread, of NumPy's matrix products too: many small ones are faster so, and what is found
    depends on no number of cores.

    Args:
      measure: NumPy code, which lets other threads work; it is called by several at once.
      items: asked for one after the other, by the caller's thread.
    """
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(), MAX_WORKERS)
    with threadpoolctl.threadpool_limits(1, "blas"), concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(measure, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
