"""SIGTERM and Ctrl-C ask a run to save and leave; every process must leave at the same step."""

import os
import signal
from types import FrameType

import jax
from jax.experimental import multihost_utils

INTERRUPTED = 130  # exit code of a program that Ctrl-C ended, by the shell's convention


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came, and the run has been saved on all processes."""


class PreemptionGuard:
    """Context manager that turns SIGTERM and the first Ctrl-C into a question the loop asks once a step.

    A second Ctrl-C ends the process at once.

    Raises:
      Interrupted: on leaving it without another error, where Ctrl-C came.
    """

    def __init__(self):
        self._interrupted = False
        self._terminated = False
        self._previous = {}

    def __enter__(self) -> "PreemptionGuard":
        self._previous = {signal.SIGINT: signal.signal(signal.SIGINT, self._interrupt)}
        # With several processes JAX's own notifier handles SIGTERM and agrees on the step.
        if jax.process_count() == 1:
            self._previous[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._terminate)
        return self

    def __exit__(self, error_type: type | None, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        if self._interrupted and error_type is None:
            raise Interrupted

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        self._terminated = True

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        # Not by way of sys.stderr: this may come in the middle of a line that is being printed there.
        if self._interrupted:
            os.write(2, b"\ninterrupted: what was not saved yet is lost\n")
            os._exit(INTERRUPTED)
        self._interrupted = True
        os.write(2, b"\nCtrl-C: this step is finished and saved; once more ends it at once\n")
        os.kill(os.getpid(), signal.SIGTERM)

    def reached(self, step: int) -> bool:
        """Whether to save after `step` and stop; the same answer on every process."""
        if jax.process_count() == 1:
            return self._terminated
        return multihost_utils.reached_preemption_sync_point(step)

    @property
    def reason(self) -> str:
        """Why training is to stop: "Ctrl-C", or "SIGTERM" to this or another process."""
        return "Ctrl-C" if self._interrupted else "SIGTERM"
