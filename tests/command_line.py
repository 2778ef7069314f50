"""Verbs as a person calls them, but forked from a process that has imported JAX and the rest already.

A launch of Python costs three seconds of imports, a fork a few hundredths. What a fork inherits is what an import
leaves behind: the modules, no device, no flags of a verb. `tests/test_cli.py` launches every verb for real.
"""

import atexit
import contextlib
import gc
import multiprocessing.connection
import os
import pathlib
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import NoReturn

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]

_server: multiprocessing.connection.Connection | None = None
_children_seconds = 0.0


def run(
    module: str,
    *arguments: object,
    cwd: pathlib.Path = REPOSITORY,
    timeout: float = 300,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess:
    """`python -m MODULE ARGUMENTS...` with captured output, as `subprocess.run` does it; `environment` is added."""
    global _children_seconds
    server = _connection()
    argv = [module, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        streams = pathlib.Path(folder, "stdout"), pathlib.Path(folder, "stderr")
        server.send((argv, str(cwd), dict(environment), *map(str, streams)))
        child = server.recv()
        if not server.poll(timeout):
            os.kill(child, signal.SIGKILL)
            server.recv()
            raise subprocess.TimeoutExpired(argv, timeout)
        code, seconds = server.recv()
        _children_seconds += seconds
        return subprocess.CompletedProcess(argv, code, *(stream.read_text() for stream in streams))


def children_seconds() -> float:
    """CPU time of all commands so far: they are the server's children, not this process's."""
    return _children_seconds


def _connection() -> multiprocessing.connection.Connection:
    global _server
    if _server is None:
        ours, theirs = socket.socketpair()
        subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        theirs.close()
        _server = multiprocessing.connection.Connection(ours.detach())
    return _server


def _serve(client: multiprocessing.connection.Connection) -> None:
    """Forks a child for each request, until the client is gone. Returns in each child, and never in this process."""
    gc.freeze()  # a collection in a child would copy all pages
    while True:
        try:
            argv, cwd, environment, *streams = client.recv()
        except EOFError:
            os._exit(0)
        child = os.fork()
        if child == 0:
            for stream, path in zip((1, 2), streams, strict=True):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
            os.chdir(cwd)
            os.environ.update(environment)
            sys.argv, sys.path[0] = argv, cwd
            return
        client.send(child)
        _, status, usage = os.wait4(child, 0)
        client.send((os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime))


def _run_and_exit(module: str) -> NoReturn:
    """As an interpreter ends, but without taking down one by one the modules that the server lent."""
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as exit:
        code = exit.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _preload() -> None:
    """Imports every module of the package's subpackages, but for those that define flags."""
    sys.path[0] = str(REPOSITORY)
    for path in sorted((REPOSITORY / "musicgen_jax").glob("*/**/*.py")):
        if "flags.DEFINE" not in path.read_text():
            name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
            with contextlib.suppress(ModuleNotFoundError):  # of an extra that is not installed
                __import__(name)


if __name__ == "__main__":
    _preload()
    _serve(multiprocessing.connection.Connection(int(sys.argv[1])))
    _run_and_exit(sys.argv[0])
