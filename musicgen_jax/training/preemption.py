"""SIGTERM asks a run to save and leave; every process must leave at the same step."""

import signal
from types import FrameType

import jax
from jax.experimental import multihost_utils


class PreemptionGuard:
    """Context manager that turns SIGTERM into a question the loop asks once a step."""

    def __init__(self):
        self._signalled = False
        self._previous = None

    def __enter__(self) -> "PreemptionGuard":
        # With several processes JAX's own notifier handles SIGTERM and agrees on the step.
        if jax.process_count() == 1:
            self._previous = signal.signal(signal.SIGTERM, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if jax.process_count() == 1:
            signal.signal(signal.SIGTERM, self._previous)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self._signalled = True

    def reached(self, step: int) -> bool:
        """Whether to save after `step` and stop; the same answer on every process."""
        if jax.process_count() == 1:
            return self._signalled
        return multihost_utils.reached_preemption_sync_point(step)
