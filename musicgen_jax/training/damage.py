"""Whether a checkpoint that does not load is damaged, or its storage at fault: all processes come to one answer.

Damage needs proof: what was read to its end is not what was written. Whatever a disk, a network or a right to read may
cause is none, and nothing may be set aside for it.
"""

import contextlib
import errno
import json
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from musicgen_jax.runtime.errors import UserError

# What TensorStore says of contents: a checksum, a decoder or a length disagrees, or a file is not there. Its other
# words (UNAVAILABLE, PERMISSION_DENIED, UNKNOWN, ...) are of the storage. The last is Orbax's, of a list of arrays that
# is not the one that was written.
PROOFS = (
    "DATA_LOSS: ",
    "OUT_OF_RANGE: ",
    "NOT_FOUND: ",
    "FAILED_PRECONDITION: ",
    "Error opening ",
    "Error reading ",
    "User-provided restore item and on-disk value metadata tree structures do not match",
)
# What Python and Orbax raise over text that was read and makes no sense, or over a file that is not there.
NONSENSE = (KeyError, AttributeError, json.JSONDecodeError, UnicodeDecodeError, FileNotFoundError, NotADirectoryError)
BUCKET_LIBRARIES = ("gcsfs", "google", "aiohttp")  # their errors say that a bucket could not be read
MESSAGE_BYTES = 1024

_Result = TypeVar("_Result")


class DamagedError(UserError):
    """A checkpoint that was whole once, and is no more."""


class UnreadableError(UserError):
    """A checkpoint that could not be read, whole or not."""


def agreed(attempt: Callable[[], _Result]) -> _Result:
    """`attempt()` on every process, which all succeed or all raise: what one process alone meets is told to all.

    Args:
      attempt: must not wait for other processes where it may fail.

    Raises:
      UnreadableError: a process raised it.
      DamagedError: a process raised it, and none the other.
    """
    result, said = None, ""
    try:
        result = attempt()
    except (DamagedError, UnreadableError) as error:
        said = type(error).__name__ + " " + str(error)
    verdicts = from_all(said)
    for kind in (UnreadableError, DamagedError):
        for process, verdict in enumerate(verdicts):
            name, _, message = verdict.partition(" ")
            if name == kind.__name__:
                raise kind(message + (f" (process {process})" if len(verdicts) > 1 else ""))
    return result


def from_all(text: str) -> list[str]:
    """Collects a text from each process: the same list on all, by process number, of at most `MESSAGE_BYTES` each."""
    if jax.process_count() == 1:
        return [text]
    said = np.frombuffer(text.encode()[:MESSAGE_BYTES].ljust(MESSAGE_BYTES), np.uint8)
    return [bytes(row).decode(errors="ignore").rstrip() for row in multihost_utils.process_allgather(said)]


@contextlib.contextmanager
def explained(place: str) -> Iterator[None]:
    """Turns what reading raises into the two errors above; `place` begins their messages.

    An error of neither kind, such as a lack of memory, is raised as it is.
    """
    try:
        yield
    except Exception as error:
        of_reading = isinstance(error, OSError | ValueError | KeyError | AttributeError) or _is_of_bucket(error)
        if isinstance(error, UserError) or not of_reading:
            raise
        causes = list(_causes(error))
        storage = next((cause for cause in causes if _is_of_storage(cause)), None)
        proof = next((cause for cause in causes if _is_proof(cause)), None)
        if proof is not None and storage is None:
            raise DamagedError(f"{place} is damaged: {first_line(proof)}") from error
        if storage is None and any(isinstance(cause, MemoryError | RuntimeError) for cause in causes):
            raise
        raise UnreadableError(
            f"{place} could not be read: {first_line(storage or causes[-1])}; nothing was changed: look after the disk "
            "or network, and run the same command again"
        ) from error


def error_number(error: BaseException) -> int | None:
    """What the system said (errno), where Python or TensorStore knows it."""
    for cause in _causes(error):
        told = re.search(r"os_error_code='(\d+)'", str(cause))
        if told or (isinstance(cause, OSError) and cause.errno):
            return int(told[1]) if told else cause.errno
    return None


def first_line(error: BaseException) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)  # str() of it adds quotes
    return text.split("\n")[0][:200] or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, the outermost first: Orbax wraps what it gets."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_of_storage(cause: BaseException) -> bool:
    if isinstance(cause, OSError):
        return not isinstance(cause, FileNotFoundError | NotADirectoryError)
    if _is_of_bucket(cause):
        return True
    told = re.search(r"os_error_code='(\d+)'", str(cause))
    return told is not None and int(told[1]) != errno.ENOENT


def _is_of_bucket(cause: BaseException) -> bool:
    return type(cause).__module__.partition(".")[0] in BUCKET_LIBRARIES


def _is_proof(cause: BaseException) -> bool:
    # Not their subclasses: Orbax's own of KeyError says no more than that there was an error.
    return type(cause) in NONSENSE or (type(cause) is ValueError and str(cause).startswith(PROOFS))
