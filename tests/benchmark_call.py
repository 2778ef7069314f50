"""Benchmarks called in this process: starting Python and JAX takes longer than a refusal or a tiny measurement."""

import contextlib
import importlib
import io
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from absl import flags

from musicgen_jax.command_line import cli
from musicgen_jax.runtime import allocator


@pytest.fixture(scope="session")
def benchmark() -> Callable[..., subprocess.CompletedProcess]:
    """benchmark("decode", "--rounds=1") -> its exit status, stdout and stderr, as of a process of its own."""
    return _run


def _run(name: str, *arguments: object) -> subprocess.CompletedProcess:
    """Each call imports the module anew, for benchmarks give different flags the same name, and flags keep values."""
    out, err = io.StringIO(), io.StringIO()
    known = set(flags.FLAGS)
    argv = [f"benchmarks/{name}.py", *map(str, arguments)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _settings_of_the_process(argv):
        try:
            module = importlib.import_module(f"benchmarks.{name}")
            cli.run(module.main)
        except SystemExit as end:
            status = end.code or 0
        finally:
            sys.modules.pop(f"benchmarks.{name}", None)
            for flag in set(flags.FLAGS) - known:
                delattr(flags.FLAGS, flag)
            flags.FLAGS.unparse_flags()
    return subprocess.CompletedProcess(argv, status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _settings_of_the_process(argv: list[str]):
    """What a benchmark sets for its whole process is given back, or kept from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        patch.setattr(allocator, "keep_memory", lambda: True)
        cpus = os.sched_getaffinity(0)
        yield
        os.sched_setaffinity(0, cpus)
