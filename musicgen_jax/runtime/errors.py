"""What a person can cause and mend: bad flags, settings, files. Anything else is a defect and keeps its traceback."""

import errno
import re

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


_ARGUMENT = re.compile(r"`([a-z_]+)`")
_FLAGS = {"prompt": "prime"}  # arguments whose flag has another name


class UserError(ValueError):
    """A mistake in what the user passed; the message is one sentence with the value, the rule and the remedy.

    Names of arguments may stand in backticks: a caller in Python reads them as they are, the command line as flags.
    """

    def __str__(self) -> str:
        return _ARGUMENT.sub(r"\1", super().__str__())

    def on_command_line(self) -> str:
        """The message with flags for arguments."""
        return _ARGUMENT.sub(lambda match: "--" + _FLAGS.get(match[1], match[1]), super().__str__())


class NotFoundError(UserError, FileNotFoundError):
    """A file or folder that the user named, or that a command should have written, is not there."""


class UnreachableError(UserError, TimeoutError):
    """A process or host that should take part did not answer in time."""
