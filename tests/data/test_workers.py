"""The ordered map over processes."""

import functools
import os
import time

import pytest

from musicgen_jax.data import workers


def slow_first(item: int) -> int:
    time.sleep(0.2 if item == 0 else 0.0)
    return item * item


def die(item: int) -> int:
    os._exit(3)


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


def test_a_dying_worker_is_one_error():
    with pytest.raises(ValueError, match="--runner=serial"):
        list(workers.ordered_map(die, range(3), 1))


def test_count():
    assert workers.count("serial") == 0
    assert workers.count("parallel") >= 1
    with pytest.raises(ValueError, match="'beam'"):
        workers.count("beam")
