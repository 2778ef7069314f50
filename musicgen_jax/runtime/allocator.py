"""How this process keeps its memory."""

import ctypes

# Names and numbers of glibc's malloc.h.
M_ARENA_MAX, M_MMAP_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD = -8, -4, -3, -1, -2
NEVER = -1  # of M_TRIM_THRESHOLD; a number of bytes goes up to 2 GiB only, and the buffers of a step beyond


def keep_memory() -> bool:
    """Tells glibc's allocator to keep what this process has had, returning whether that worked.

    For training. XLA on a CPU gives the buffers of a step back and asks for them anew. The system then maps and clears
    every page again, which takes a third of a step at scale base; torch gains by it as well.
    """
    return _set({M_ARENA_MAX: 1, M_MMAP_MAX: 0, M_TRIM_THRESHOLD: NEVER, M_TOP_PAD: 2**28})


def return_memory() -> bool:
    """Tells glibc's allocator to give large blocks back to the system at once, returning whether that worked.

    For work of any length. By itself glibc raises its threshold with the blocks that it sees, one heap a thread; what
    is freed then stays in the gaps, and an hour of audio takes 50 to 150 MB more than a minute, more on a busy machine.
    """
    return _set({M_ARENA_MAX: 1, M_MMAP_THRESHOLD: 2**20})


def _set(options: dict[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # not glibc
        return False
    return all(mallopt(option, value) for option, value in options.items())
