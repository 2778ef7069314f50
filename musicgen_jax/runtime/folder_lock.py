"""One writer a folder: the second is told who the first is."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import TextIO

from musicgen_jax.runtime.errors import UserError

FILE_NAME = ".musicgen_jax.lock"


@contextlib.contextmanager
def hold(folder: str | os.PathLike[str], purpose: str) -> Iterator[None]:
    """Keeps other processes from writing to `folder`, which is made if need be, until the block ends.

    The lock is the system's (flock) on a file in the folder: it goes with its process, however that ends, so nothing
    stale ever has to be cleared away.

    Args:
      folder: that this process is about to write to.
      purpose: what it does there, such as "training", for the message of a second process.

    Raises:
      UserError: another process holds it; the message says which, on what host, and since when.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    with _locked(path, folder) as file:
        file.truncate(0)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        file.write(json.dumps({"purpose": purpose, "host": socket.gethostname(), "pid": os.getpid(), "since": now}))
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: pathlib.Path, folder: pathlib.Path) -> TextIO:
    """The lock's file, open and locked."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = _holder(file.read())
            file.close()
            raise UserError(f"{folder} is in use: {holder}; wait for it, or choose another folder") from error
        # The former holder may have removed the file between our open and our lock: what we locked is then nobody's.
        if path.exists() and os.fstat(file.fileno()).st_ino == path.stat().st_ino:
            return file
        file.close()


def _holder(text: str) -> str:
    try:
        facts = json.loads(text)
        return f"{facts['purpose']} by process {facts['pid']} on {facts['host']} since {facts['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process writes there"
