"""How every entry point starts and how it fails: one line on stderr, exit code 1, no traceback."""

import errno
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from musicgen_jax.errors import UserError

# Overriding a config field goes through attribute access inside the flag's parser.
FLAG_ERRORS = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError)
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
    errno.EPERM,
    errno.EROFS,
}

_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show the traceback of an error, for finding its cause.")


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls main(); ends the process.

    A user's error (`UserError`, or what the system says of a file) becomes `error: ...` on stderr, exit code 1. Ctrl-C
    exits with 130. Anything else is a defect and keeps its traceback.
    """
    app.run(lambda argv: _call(main), flags_parser=_parse_flags)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    try:
        rest = flags.FLAGS(list(argv))
    except FLAG_ERRORS as error:
        _fail(error)
    if len(rest) > 1:
        _fail(UserError(f"unexpected argument {rest[1]!r}; flags are written --name=value"))
    return rest


def _call(main: Callable[[], None]) -> None:
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # Orbax and TFDS tell every step of theirs at the level below
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except (UserError, OSError) as error:
        if _TRACEBACK.value or not (isinstance(error, UserError) or error.errno in SYSTEM_ERRORS):
            raise
        _fail(error)


def _fail(error: Exception) -> None:
    # str() of a KeyError is the repr of its message; line breaks would make more than the one line promised.
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    print("error: " + " ".join(str(text).split()), file=sys.stderr)
    sys.exit(1)
