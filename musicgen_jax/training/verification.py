"""Whether weights are compared with their digests: the flag --noverify of commands, and `off` in Python.

Imports nothing heavy: flags come before all that is.
"""

import contextlib
import contextvars
from collections.abc import Iterator

from absl import flags

NAME = "verify"
_off = contextvars.ContextVar("off", default=False)
flags.disclaim_key_flags()  # what `define` defines is its caller's


def define() -> None:
    """Defines the flag --noverify for a command."""
    flags.DEFINE_bool(
        NAME, True, "Compare weights with the digests stored with them; --noverify loads damaged ones without a word."
    )


@contextlib.contextmanager
def off() -> Iterator[None]:
    """Context in which weights are loaded without comparing digests, for those that are needed although damaged."""
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def wanted() -> bool:
    """Whether to compare: not within `off`, nor where the command line says --noverify."""
    if _off.get():
        return False
    return flags.FLAGS[NAME].value if NAME in flags.FLAGS and flags.FLAGS.is_parsed() else True
