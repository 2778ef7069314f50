"""A study in a server of its own process: the links that it prints, and its end."""

import contextlib
import pathlib
import signal
import subprocess
import sys

from musicgen_jax.listening import storage

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


class Server:
    """`listen --serve` on a free port, started when this is made.

    Attributes:
      links: of all listeners.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        with contextlib.closing(storage.Database(folder)) as database:
            number = len(database.listeners())
        command = [sys.executable, "-m", "musicgen_jax", "listen", f"--serve={folder}", "--port=0"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, cwd=REPOSITORY, **pipes)
        self.links = [self._process.stdout.readline().strip() for _ in range(number)]
        assert all(link.startswith("http://127.0.0.1:") for link in self.links), self._process.stderr.read()

    def kill(self) -> None:
        """As a power cut ends it."""
        self.stop(signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """(exit code, stderr)."""
        self._process.send_signal(how)
        with self._process.stdout, self._process.stderr:
            said = self._process.stderr.read()
        return self._process.wait(20), said
