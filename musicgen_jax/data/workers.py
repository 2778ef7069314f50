"""An ordered map over processes: the same results in the same order, whatever the number of workers."""

import collections
import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from musicgen_jax.runtime.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
START_SECONDS = 300.0  # for a process to begin
MAX_FAILED_STARTS = 3
ITEM_SECONDS = 120.0  # for an item, unless the caller knows better
END_SECONDS = 5.0  # for a process to go once it was killed


@dataclasses.dataclass(frozen=True)
class Lost:
    """In place of a result: the process that worked on the item died twice, or took too long."""

    reason: str


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


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    num_workers: int,
    seconds: Callable[[Item], float] = lambda item: ITEM_SECONDS,
) -> Iterator[Result | Lost]:
    """Yields function(item) for each item in order; at most 2 * num_workers results wait at any time.

    An item whose process dies (a decoder crashed, or the system killed it for its memory) is tried once more, in a new
    process. A process that takes too long is killed. Neither ends the run: `Lost` is yielded for the item.

    Args:
      function: at module level, or a functools.partial of such a one: it travels to the workers, as do the items.
      items: what to apply it to.
      num_workers: processes; 0 calls the function here, where nothing guards against crashes and hangs.
      seconds: how long an item may take.

    Raises:
      UserError: processes do not even start.
      Exception: what the function raises.
    """
    if num_workers == 0:
        yield from map(function, items)
        return
    pool = _Pool(function, num_workers, seconds)
    try:
        yield from pool.results(items)
    finally:
        pool.close()


@dataclasses.dataclass
class _Task(Generic[Item]):
    """An item, its place in the order of the results, and how often a process has begun with it."""

    number: int
    item: Item
    attempts: int = 0


class _Worker:
    """A process and what it is doing; `task` is None while it starts and when it is idle."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        # Spawned, not forked: a fork of a process in which JAX runs its threads can hang.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, function), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is seen here
        self.task: _Task | None = None
        self.started, self.deadline = False, time.monotonic() + START_SECONDS

    def begin(self, task: _Task, seconds: float) -> None:
        """Sends the task's item to the process, which has so many seconds for it."""
        self.task, self.deadline = task, time.monotonic() + seconds
        task.attempts += 1
        with contextlib.suppress(OSError):  # killed while it was idle: the pipe's end will be found
            self.connection.send(task.item)

    def end(self) -> str:
        """Kills the process if need be, and says how it ended."""
        self._process.join(0.1)
        self._process.kill()
        self._process.join(END_SECONDS)
        self.connection.close()
        code = self._process.exitcode
        return f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"


class _Pool:
    """The processes of one `ordered_map`, each busy with one task at a time, and replaced when it dies or hangs."""

    def __init__(self, function: Callable[[Any], Any], num_workers: int, seconds: Callable[[Any], float]) -> None:
        self._function, self._seconds = function, seconds
        self._limit = 2 * num_workers
        self._workers: list[_Worker] = []
        self._failed_starts = 0  # one after the other
        self._num_workers = num_workers

    def results(self, items: Iterable[Any]) -> Iterator[Any]:
        """A result or `Lost` for each item, in order."""
        remaining = (_Task(number, item) for number, item in enumerate(items))
        again: collections.deque[_Task] = collections.deque()
        done: dict[int, Any] = {}
        taken = given = 0
        while True:
            while len(self._workers) < self._num_workers:
                self._workers.append(_Worker(self._function))
            for worker in self._workers:
                if not worker.started or worker.task is not None:
                    continue
                task = again.popleft() if again else next(remaining, None) if taken - given < self._limit else None
                if task is None:
                    break
                taken = max(taken, task.number + 1)
                worker.begin(task, self._seconds(task.item))
            if given in done:
                yield done.pop(given)
                given += 1
            elif given == taken and self._all_idle() and not again:
                return
            else:
                self._wait(done, again)

    def _all_idle(self) -> bool:
        return all(worker.started and worker.task is None for worker in self._workers)

    def _wait(self, done: dict[int, Any], again: "collections.deque[_Task]") -> None:
        """Waits until a process answers, dies or is late. Results and losses go into `done` by number, tasks that are
        to be tried once more into `again`."""
        busy = [worker for worker in self._workers if worker.task is not None or not worker.started]
        patience = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
        ready = multiprocessing.connection.wait([worker.connection for worker in busy], patience)
        for worker in busy:
            if worker.connection in ready:
                self._receive(worker, done, again)
            elif time.monotonic() > worker.deadline:
                self._lose(worker, done, again, hung=True)

    def _receive(self, worker: _Worker, done: dict[int, Any], again: "collections.deque[_Task]") -> None:
        try:
            result, error = worker.connection.recv()
        except (EOFError, OSError):
            self._lose(worker, done, again, hung=False)
            return
        if error is not None:
            raise error
        self._failed_starts = 0
        if worker.started:
            done[worker.task.number], worker.task = result, None
        worker.started = True

    def _lose(self, worker: _Worker, done: dict[int, Any], again: "collections.deque[_Task]", hung: bool) -> None:
        how, task = worker.end(), worker.task
        self._workers.remove(worker)
        if task is None:
            self._failed_starts += 1
            if self._failed_starts == MAX_FAILED_STARTS:
                raise UserError(f"worker processes do not start ({how}): run again with `runner`=serial")
        elif hung:
            limit = self._seconds(task.item)
            done[task.number] = Lost(f"no end after {limit:.0f} s, its process was stopped")
        elif task.attempts == 1:
            again.append(task)
        else:
            done[task.number] = Lost(f"its process died twice ({how}): out of memory, or its decoder crashes")

    def close(self) -> None:
        """Ends all processes, whatever they are doing."""
        for worker in self._workers:
            worker.end()


def _serve(connection: Any, function: Callable[[Any], Any]) -> None:
    """What a worker process does until its parent closes the pipe: receives items, sends (result, error) for each."""
    _start_worker()
    connection.send((None, None))
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            answer = function(item), None
        except Exception as error:
            error.add_note("in a worker process:\n" + traceback.format_exc())
            answer = None, error
        connection.send(answer)


def _start_worker() -> None:
    # Ctrl-C is for the parent, which stops its workers; and a worker must not outlive a parent that was killed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
