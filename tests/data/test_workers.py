"""The ordered map over processes."""

import functools
import multiprocessing
import os
import pathlib
import signal
import time

import pytest

from musicgen_jax.data import workers
from musicgen_jax.runtime.errors import UserError


def slow_first(item: int) -> int:
    time.sleep(0.2 if item == 0 else 0.0)
    return item * item


def test_order_and_results_do_not_depend_on_the_workers():
    want = [item * item for item in range(9)]
    assert list(workers.ordered_map(slow_first, range(9), 0)) == want
    assert list(workers.ordered_map(functools.partial(slow_first), range(9), 2)) == want


def test_at_most_twice_the_workers_wait():
    taken = []
    results = workers.ordered_map(abs, (taken.append(i) or i for i in range(20)), 1)
    assert next(results) == 0
    assert len(taken) <= 3
    results.close()


def die_at_three(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def die_once(path: str, item: int) -> int:
    if item == 1 and not os.path.exists(path):
        pathlib.Path(path).touch()
        os._exit(3)
    return item * item


def hang_at_two(item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGSTOP)
    return item * item


def fail(item: int) -> int:
    raise UserError(f"item {item}: bad")


def test_an_item_that_kills_its_process_is_lost_and_the_others_go_on():
    results = list(workers.ordered_map(die_at_three, range(6), 2))
    assert results[:3] + results[4:] == [0, 1, 4, 16, 25]
    assert results[3] == workers.Lost(
        "its process died twice (killed by signal 9): out of memory, or its decoder crashes"
    )


def test_an_item_whose_process_was_killed_by_others_is_tried_again(tmp_path):
    function = functools.partial(die_once, str(tmp_path / "died"))
    assert list(workers.ordered_map(function, range(4), 1)) == [0, 1, 4, 9]


def test_a_hanging_item_is_lost_and_its_process_stopped():
    results = list(workers.ordered_map(hang_at_two, range(4), 1, seconds=lambda item: 1.0))
    assert results == [0, 1, workers.Lost("no end after 1 s, its process was stopped"), 9]
    assert not multiprocessing.active_children()


def test_errors_of_the_function_come_here():
    with pytest.raises(UserError, match="item 0: bad") as caught:
        list(workers.ordered_map(fail, range(3), 1))
    assert "in fail" in caught.value.__notes__[0]


def test_processes_that_do_not_start_are_one_error(monkeypatch):
    monkeypatch.setattr(workers, "_serve", int)  # int(connection, function) raises in the process
    with pytest.raises(UserError, match=r"do not start \(exit code 1\): run again with runner=serial"):
        list(workers.ordered_map(abs, range(3), 1))


def test_count():
    assert workers.count("serial") == 0
    assert workers.count("parallel") >= 1
    with pytest.raises(ValueError, match="'beam'"):
        workers.count("beam")
