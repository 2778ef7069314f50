"""A process that has imported JAX and the rest, and forks itself for each command that a `forked_python` asks for.

A launch of Python costs four seconds of imports, a fork a few hundredths. What a fork inherits is what an import leaves
behind: the modules, no device, no flags of a verb. `tests/command_line.py` starts it.
"""

import atexit
import contextlib
import gc
import json
import os
import pathlib
import runpy
import select
import signal
import socket
import sys
import traceback
from typing import NoReturn

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


class Server:
    """Of `listener`, whose clients ask for commands, and `owner`, which asks for the CPU seconds of those so far."""

    def __init__(self, listener: socket.socket, owner: socket.socket):
        self._listener, self._owner = listener, owner
        self._woken, self._wake = socket.socketpair()
        self._clients: dict[int, socket.socket] = {}  # of the running children
        self._seconds = 0.0

    def serve(self) -> dict:
        """Serves until the owner is gone. Returns the request in each child, and never in this process."""
        gc.freeze()  # a collection in a child would copy all pages
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            waiting = [self._woken, self._owner, self._listener, *self._clients.values()]
            ready = select.select(waiting, [], [])[0]
            if self._woken in ready:
                self._woken.recv(4096)
                self._reap()
            elif self._owner in ready:
                if not self._owner.recv(1):
                    os._exit(0)
                self._owner.sendall(f"{self._seconds}\n".encode())
            elif self._listener in ready:
                if (request := self._fork()) is not None:
                    return request
            else:  # killed: so is its command
                for child in [child for child, client in self._clients.items() if client in ready]:
                    os.kill(child, signal.SIGKILL)
                    self._clients.pop(child).close()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                child, status, usage = os.wait4(-1, os.WNOHANG)
                if not child:
                    return
                self._seconds += usage.ru_utime + usage.ru_stime
                if client := self._clients.pop(child, None):
                    with client, contextlib.suppress(BrokenPipeError):
                        client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())

    def _fork(self) -> dict | None:
        """The request in the child, None in this process."""
        client, _ = self._listener.accept()
        data, streams, _, _ = socket.recv_fds(client, 1 << 16, 3)
        while not data.endswith(b"\n"):  # JSON has no line end within
            if not (part := client.recv(1 << 16)):  # killed meanwhile
                for stream in streams:
                    os.close(stream)
                return client.close()
            data += part
        child = os.fork()
        if child == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            for end in (client, self._listener, self._owner, self._woken, self._wake, *self._clients.values()):
                end.close()
            return json.loads(data)
        for stream in streams:
            os.close(stream)
        self._clients[child] = client
        with contextlib.suppress(BrokenPipeError):  # killed meanwhile: `serve` will see
            client.sendall(f"{child}\n".encode())
        return None


def _run_and_exit(module: str, arguments: list[str], cwd: str, environment: dict[str, str]) -> NoReturn:
    """As an interpreter ends, but without taking down one by one the modules that the server lent."""
    code = 0
    try:
        _take_over(environment)
        os.chdir(cwd)
        sys.argv, sys.path[0] = [module, *arguments], cwd
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


def _take_over(environment: dict[str, str]) -> None:
    """Makes them the variables of this process; JAX has read its own already, and is told of other ones."""
    changed = {name for name in os.environ.keys() | environment.keys() if os.environ.get(name) != environment.get(name)}
    os.environ.clear()
    os.environ.update(environment)
    jax = sys.modules["jax"]
    for name in (name for name in changed if name.startswith("JAX_")):
        value, former = environment.get(name), jax.config.values[name.lower()]
        jax.config.update(name.lower(), float(value) if isinstance(former, float) else value)


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
    listener, owner = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    _run_and_exit(**Server(listener, owner).serve())
