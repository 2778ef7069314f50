"""How this process keeps its memory."""

import ctypes


def keep_memory() -> bool:
    """Tells glibc's allocator to keep what this process has had, returning whether that worked.

    XLA on a CPU gives the buffers of a step back and asks for them anew. The system then maps and clears every page
    again, which takes a third of a step at scale base; torch gains by it as well.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # not glibc
        return False
    # From malloc.h: M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD.
    return all(mallopt(*setting) for setting in ((-8, 1), (-3, 2**30), (-1, 2**31 - 1), (-2, 2**28)))
