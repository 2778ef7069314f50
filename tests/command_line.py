"""Verbs as a person calls them, but forked from a process that has imported JAX and the rest already.

`tests/test_cli.py` launches every verb for real, and `tests/test_quickstart.py` the whole pipeline.
"""

import atexit
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from types import MappingProxyType

import fork_server

REPOSITORY = fork_server.REPOSITORY

_server: socket.socket | None = None  # its answers: CPU seconds
_python: pathlib.Path | None = None


def run(
    module: str,
    *arguments: object,
    cwd: pathlib.Path = REPOSITORY,
    timeout: float = 300,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess:
    """`python -m MODULE ARGUMENTS...` with captured output, as `subprocess.run` does it; `environment` is added."""
    command = [python(), "-m", module, *map(str, arguments)]
    settings = os.environ | environment
    return subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True, timeout=timeout)


def python() -> str:
    """An executable that does what `sys.executable -m` does, without the imports."""
    global _server, _python
    if _python is None:
        folder = pathlib.Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "server"))
            listener.listen()
            _server, theirs = socket.socketpair()
            ends = [listener.fileno(), theirs.fileno()]
            subprocess.Popen([sys.executable, fork_server.__file__, *map(str, ends)], pass_fds=ends)
            theirs.close()
        _python = folder / "python"
        start = f"import sys; sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r}); import forked_python"
        call = f"forked_python.main({sys.executable!r}, {str(folder / 'server')!r})"
        _python.write_text(f"#!{sys.executable} -SE\n{start}; {call}\n")
        _python.chmod(0o755)
    return str(_python)


def children_seconds() -> float:
    """CPU time of all commands so far: they are the server's children, not this process's."""
    if _server is None:
        return 0.0
    _server.sendall(b"?")
    return float(_server.makefile().readline())
