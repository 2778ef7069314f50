"""What the commands tell a person, on stderr: what they run on, what came of it, what to run next.

stdout is left to what other programs read. Of several processes that work together the first one speaks.
"""

import contextlib
import functools
import os
import pathlib
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping

import tqdm

from musicgen_jax.runtime import buckets


def say(text: str) -> None:
    """Prints a line on stderr, above a bar if there is one; process 0 only."""
    jax = sys.modules.get("jax")  # not imported: commands that answer at once, or never need it, are one process
    if jax is None or jax.process_index() == 0:
        sys.stdout.flush()  # else a log that takes both has them out of order
        tqdm.tqdm.write(buckets.named(text), file=sys.stderr)
        sys.stderr.flush()


say_once = functools.cache(say)  # a line that need not be repeated


@contextlib.contextmanager
def until_reader_leaves() -> Iterator[None]:
    """Ends the process with exit code 1, in silence, when nobody reads stdout any more: `| head` has read enough."""
    try:
        yield
        sys.stdout.flush()  # here, where an error can still be told
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def say_devices(devices: str | None = None) -> None:
    """Says once what the process runs on: `devices`, or JAX's."""
    say_once(f"running on {devices or describe_devices()}")


def describe_devices() -> str:
    """Such as "2 CPU cores", "1 x NVIDIA H100 80GB HBM3" or "16 x TPU v5 lite in 4 processes"."""
    import jax

    devices = jax.devices()
    text = describe_cores(num_cores()) if devices[0].platform == "cpu" else f"{len(devices)} x {devices[0].device_kind}"
    return text + (f" in {jax.process_count()} processes" if jax.process_count() > 1 else "")


def describe_cores(number: int) -> str:
    """Such as "2 CPU cores"."""
    return f"{number} CPU core" + "s" * (number != 1)


def num_cores() -> int:
    """CPU cores at this process's disposal."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def say_next(verb: str, flags: Mapping[str, str | list[str]]) -> None:
    """Says which command comes next, as it can be typed: started in the same way as this one.

    Args:
      verb: the command.
      flags: name -> value, or values of one that is repeated; those without a value are left out.
    """
    here = os.getcwd() + os.sep  # paths below it are shown as a person would type them
    pairs = [(name, one) for name, value in flags.items() for one in ([value] if isinstance(value, str) else value)]
    words = [f"--{name}={buckets.named(value).removeprefix(here)}" for name, value in pairs if value]
    say("next: " + shlex.join([*_started_as(verb), *words]))


def _started_as(verb: str) -> list[str]:
    python, *arguments = sys.orig_argv  # as typed, but for a script, which the system finds and Python starts
    script = pathlib.Path(arguments[0] if arguments else "")
    if script.name == "musicgen-jax":
        return [script.name if shutil.which(script.name) == str(script) else str(script), verb]
    return [python if "-m" in arguments else "python", "-m", f"musicgen_jax.{verb}"]
