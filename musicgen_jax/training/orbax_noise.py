"""What Orbax prints of an error that its caller gets as well: a dozen tracebacks of threads and of abandoned reads."""

import functools
import inspect
import logging
import sys
import warnings
from typing import Any


@functools.cache
def silence() -> None:
    """Keeps it from stderr, from here on."""
    logging.getLogger("absl").addFilter(_is_news)
    # Once one read has failed, Orbax leaves the others alone and closes its event loop under them.
    logging.getLogger("asyncio").addFilter(lambda record: "exception was never retrieved" not in record.getMessage())
    warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None if _is_abandoned(unraisable) else hook(unraisable)


def _is_news(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname or not (record.exc_info or record.getMessage().startswith("Failed to "))


def _is_abandoned(unraisable: Any) -> bool:
    if inspect.iscoroutine(unraisable.object):
        return "orbax" in unraisable.object.cr_code.co_filename
    return isinstance(unraisable.exc_value, RuntimeError) and "Event loop is closed" in str(unraisable.exc_value)
