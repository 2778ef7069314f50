"""Damaged files: mutations of whole ones, and what a reader may answer to them."""

import resource
import time
from collections.abc import Callable, Iterator

import numpy as np

from musicgen_jax.errors import SYSTEM_ERRORS, UserError

MAX_SECONDS, MAX_BYTES = 5.0, 2**30
EXTREMES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 0x7FFFFFFE)


def mutations(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """`count` damaged copies of `data`: flipped bits, cuts, insertions, repeated and zeroed runs, extreme integers.

    Args:
      data: of a whole file.
      seed: equal seeds give equal mutations.
      count: how many. The kinds take turns; one in three has several wounds.
    """
    rng = np.random.default_rng(seed)
    kinds = (_flip, _cut, _insert, _repeat, _zero, _extreme)
    for index in range(count):
        damaged = kinds[index % len(kinds)](bytearray(data), rng)
        for _ in range(int(rng.integers(1, 5)) if index % 3 == 0 else 0):
            damaged = kinds[int(rng.integers(len(kinds)))](damaged, rng)
        yield bytes(damaged)


def _flip(data: bytearray, rng: np.random.Generator) -> bytearray:
    if data:
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return data


def _cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(len(data) + 1))]


def _insert(data: bytearray, rng: np.random.Generator) -> bytearray:
    place = int(rng.integers(len(data) + 1))
    return data[:place] + rng.bytes(int(rng.integers(1, 17))) + data[place:]


def _run(data: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    start = int(rng.integers(len(data) + 1))
    return start, min(len(data), start + int(rng.integers(1, 65)))


def _repeat(data: bytearray, rng: np.random.Generator) -> bytearray:
    start, stop = _run(data, rng)
    return data[:stop] + data[start:]


def _zero(data: bytearray, rng: np.random.Generator) -> bytearray:
    start, stop = _run(data, rng)
    data[start:stop] = bytes(stop - start)
    return data


def _extreme(data: bytearray, rng: np.random.Generator) -> bytearray:
    place = int(rng.integers(max(len(data) - 3, 1)))
    order = ("little", "big")[int(rng.integers(2))]
    data[place : place + 4] = EXTREMES[int(rng.integers(len(EXTREMES)))].to_bytes(4, order)
    return data


def survey(read: Callable[[bytes], object], inputs: Iterator[bytes]) -> dict[str, float]:
    """Reads every input and says how it went.

    Args:
      read: takes the content of a file, damaged or not.
      inputs: such contents.

    Returns:
      {"read": number read as if whole, "refused": number of one-line errors, "seconds": the longest, "bytes": by which
      this process's peak memory grew}.

    Raises:
      AssertionError: one ended in anything else than a user's error, took over 5 s, or all of them over 1 GB.
    """
    counts = {"read": 0, "refused": 0, "seconds": 0.0, "bytes": 0}
    before = _peak_bytes()
    for number, content in enumerate(inputs):
        start = time.perf_counter()
        try:
            read(content)
            counts["read"] += 1
        except UserError:
            counts["refused"] += 1
        except OSError as error:
            assert error.errno in SYSTEM_ERRORS, f"mutation {number}: {error!r}"
            counts["refused"] += 1
        except Exception as error:
            raise AssertionError(f"mutation {number} ended in {type(error).__name__}: {error}") from error
        counts["seconds"] = max(counts["seconds"], time.perf_counter() - start)
        assert counts["seconds"] < MAX_SECONDS, f"mutation {number} took {counts['seconds']:.1f} s"
    counts["bytes"] = _peak_bytes() - before
    assert counts["bytes"] < MAX_BYTES, counts
    return counts


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
