"""Clips measured at once: in order, and few of them in memory."""

import threading

import pytest

from musicgen_jax.evaluation import parallel


def test_in_order_with_few_in_flight():
    made, lock = [], threading.Lock()
    most = 0

    def items():
        for index in range(40):
            with lock:
                made.append(index)
            yield index

    for count, found in enumerate(parallel.ordered(lambda index: index**2, items())):
        assert found == count**2
        most = max(most, len(made) - count)
    assert len(made) == 40 and most <= parallel.MAX_WORKERS + 2


def test_what_fails_ends_it():
    def fails(index):
        if index == 3:
            raise ValueError("the third")
        return index

    with pytest.raises(ValueError, match="the third"):
        list(parallel.ordered(fails, range(100)))
