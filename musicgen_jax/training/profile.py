"""A profiler trace of chosen steps, in WORKDIR/profile, for TensorBoard's profile plug-in, XProf or Perfetto."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import jax

from musicgen_jax.runtime import console

FOLDER = "profile"


class Profiler:
    """Traces the steps that `TrainingConfig.profiled` has. What goes wrong with it is said, and ends no run.

    As a context manager it ends a trace that is still going on when the run stops.
    """

    def __init__(self, steps: range, workdir: pathlib.Path, done: int):
        """Args:
        steps: to trace, counted from 1.
        workdir: of the run.
        done: steps before this run of the command.
        """
        self._steps, self._folder, self._tracing = steps, pathlib.Path(workdir) / FOLDER, False
        if steps and done >= steps.start:
            asked = f"profile_steps={steps.start}:{steps.stop}"
            console.say(f"note: {asked}: this run goes on behind step {done}; what is done is not traced")

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[Any]:
        """Around step `number`, counted from 1; yields a function that takes its results, for which the trace waits
        before it ends."""
        if number in self._steps and not self._tracing:
            with _forgiven("begun"):
                jax.profiler.start_trace(self._folder)
                self._tracing = True
        results: list[Any] = []
        if not self._tracing:
            yield results.append
            return
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield results.append
        if number + 1 not in self._steps:
            jax.block_until_ready(results)
            self._end()

    def _end(self) -> None:
        if self._tracing:
            self._tracing = False
            with _forgiven("ended"):
                jax.profiler.stop_trace()
                console.say(f"profile of steps {self._steps.start} to {self._steps.stop - 1}: {self._folder}")


@contextlib.contextmanager
def _forgiven(what: str) -> Iterator[None]:
    """A trace is not worth a run: another one goes on in the process, or the disk is full."""
    try:
        yield
    except Exception as error:
        console.say(f"warning: the profile could not be {what} ({error}); training goes on")
