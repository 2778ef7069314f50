"""Sides of a comparison in processes of their own, which run when they are asked to.

In one process the sides share a heap. What one keeps between its steps lies in the gaps that the other's last step
left, so the heap grows for several rounds, and every new page is mapped and cleared within somebody's timed step.
"""

import contextlib
import functools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection
from typing import Any

from absl import flags

from musicgen_jax.runtime.errors import UserError

Programs = dict[str, Callable[[], object]]
Timed = dict[str, Callable[[], float]]  # each runs once and returns the seconds that it took
NOBODY = contextlib.nullcontext(({}, {}))  # in place of `apart`, where there is no other side


def timed(programs: Programs) -> Timed:
    """Programs of this process, with a stop-watch."""
    return {name: functools.partial(_seconds, run) for name, run in programs.items()}


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@contextlib.contextmanager
def here(make: Callable[..., tuple[Programs, dict[str, Any]]], *args: Any) -> Iterator[tuple[Timed, dict[str, Any]]]:
    """As `apart`, in this process: for an accelerator, which only one process at a time can hold."""
    programs, found = make(*args)
    yield timed(programs), found


@contextlib.contextmanager
def apart(make: Callable[..., tuple[Programs, dict[str, Any]]], *args: Any) -> Iterator[tuple[Timed, dict[str, Any]]]:
    """Lets a new process make programs and keep them; while none is asked for, it waits for the pipe and uses no CPU.

    Args:
      make: a function of a module, called as make(*args) in the new process, which has the flags and the CPUs of this
        one but not its allocator's settings. Returns programs, which must wait for their results, and other findings.
      args: picklable.

    Yields:
      (the programs, whose seconds are measured over there; the findings).

    Raises:
      UserError: `make` raised one, or the process ended before its time.
    """
    # A fresh interpreter: a fork would have a copy of this one's heap and of its threads' locks.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    values = {name: flags.FLAGS[name].value for name in flags.FLAGS if not flags.FLAGS[name].using_default_value}
    process = context.Process(target=_serve, args=(there, values, make, args), daemon=True)
    process.start()
    there.close()
    try:
        names, found = _answer(here, process)
        yield {name: functools.partial(_ask, here, process, name) for name in names}, found
    finally:
        here.close()  # ends the loop over there
        process.join()


def _ask(here: connection.Connection, process: multiprocessing.Process, name: str) -> float:
    here.send(name)
    return _answer(here, process)


def _answer(here: connection.Connection, process: multiprocessing.Process) -> Any:
    try:
        answer = here.recv()
    except EOFError:
        process.join()
        raise UserError(f"a benchmark's process ended with exit code {process.exitcode}; -9: out of memory") from None
    if isinstance(answer, UserError):
        raise answer
    return answer


def _serve(there: connection.Connection, values: dict[str, Any], make: Callable, args: tuple) -> None:
    """Makes the programs, then runs the one that is named until the pipe is closed."""
    for name in flags.FLAGS:
        if name in values:
            flags.FLAGS[name].value = values[name]
    flags.FLAGS.mark_as_parsed()
    try:
        programs, found = make(*args)
    except UserError as error:
        there.send(error)
        return
    there.send((list(programs), found))
    watched = timed(programs)
    with contextlib.suppress(EOFError):
        while True:
            there.send(watched[there.recv()]())
