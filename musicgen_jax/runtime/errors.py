"""What a person can cause and mend: bad flags, settings, files. Anything else is a defect and keeps its traceback."""

import errno
import re
from collections.abc import Callable

# What the system says of a person's disk, folder or file. Other OSErrors are defects.
SYSTEM_ERRORS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EPERM,
    errno.EROFS,
    errno.ETXTBSY,
}


_ARGUMENT = re.compile(r"`([a-z][a-z0-9_.]*)`")


def plain(text: str) -> str:
    """A sentence in which names of arguments stand in backticks, without these."""
    return _ARGUMENT.sub(r"\1", text)


def spelled(text: str, spell: Callable[[str], str]) -> str:
    """A sentence in which names of arguments stand in backticks, with spell(name) for each."""
    return _ARGUMENT.sub(lambda match: spell(match[1]), text)


class UserError(ValueError):
    """A mistake in what the user passed; the message is one sentence with the value, the rule and the remedy.

    Names of arguments may stand in backticks: a caller in Python reads them as they are, the command line as flags.
    """

    def __str__(self) -> str:
        return plain(super().__str__())

    def spelled(self, spell: Callable[[str], str]) -> str:
        """The message with spell(name) for the name of an argument, as the command line writes a flag for it."""
        return spelled(super().__str__(), spell)


class NotFoundError(UserError, FileNotFoundError):
    """A file or folder that the user named, or that a command should have written, is not there."""


class UnreachableError(UserError, TimeoutError):
    """A process or host that should take part did not answer in time."""
