"""Damaged files: mutations of whole ones, and what a reader may answer to them."""

import copy
import io
import json
import pathlib
import re
import resource
import time
import zipfile
from collections.abc import Callable, Iterator

import numpy as np

from musicgen_jax.runtime.errors import SYSTEM_ERRORS, UserError

MAX_SECONDS, MAX_BYTES = 5.0, 2**30
HEADER_BYTES = 64
# What may stand in a text where something else is expected.
ABSURD = (
    "",
    "-1",
    "0",
    "9" * 400,
    "1e999",
    "nan",
    "x" * 1_000_000,
    ",",
    '"',
    "[",
    "]",
    "{",
    ":",
    "\n" * 9,
    "\0",
    "\ufeff",
)
EXTREMES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 0x7FFFFFFE)

# What may stand in JSON where something else is expected.
STRANGE = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    10**30,
    1e308,
    float("nan"),
    "",
    "x" * 300,
    "../x",
    "\ud800",
    [],
    {},
    [[]],
    [1],
    {"a": 1},
)


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


def hostile(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """`count` copies of a file as somebody would damage it on purpose: cuts, flipped bits, extreme integers among the
    first bytes, where headers say how long and how many, and behind any four letters that name a chunk."""
    rng = np.random.default_rng(seed)
    kinds = (_cut, _flips, _header, _declared)
    for index in range(count):
        yield bytes(kinds[index % len(kinds)](bytearray(data), rng))


def _flips(data: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(int(rng.integers(1, 20))):
        data = _flip(data, rng)
    return data


def _header(data: bytearray, rng: np.random.Generator) -> bytearray:
    head = data[:HEADER_BYTES]
    for _ in range(int(rng.integers(1, 4))):
        head = _extreme(head, rng)
    return head + data[HEADER_BYTES:]


def _declared(data: bytearray, rng: np.random.Generator) -> bytearray:
    names = [match.end() for match in re.finditer(rb"[A-Za-z]{3}[A-Za-z0-9 ]", data[: 1 << 16])]
    if not names:
        return _header(data, rng)
    place = names[int(rng.integers(min(len(names), 16)))]
    order = ("little", "big")[int(rng.integers(2))]
    data[place : place + 4] = EXTREMES[2 + int(rng.integers(len(EXTREMES) - 2))].to_bytes(4, order)
    return data


def hostile_text(text: str, seed: int, count: int) -> Iterator[bytes]:
    """`count` copies of a text: half of them `hostile`, in the others absurd values stand for some of its numbers,
    words and marks."""
    yield from hostile(text.encode(), seed, count - count // 2)
    rng = np.random.default_rng(seed)
    tokens = re.findall(r"\w+|\s+|[^\w\s]", text)
    for _ in range(count // 2):
        changed = list(tokens)
        for _ in range(int(rng.integers(1, 4))):
            changed[int(rng.integers(len(changed)))] = ABSURD[int(rng.integers(len(ABSURD)))]
        yield "".join(changed).encode()


def json_mutations(text: str, seed: int, count: int, lines: bool = False) -> Iterator[bytes]:
    """Half of them damaged bytes, half whole JSON with a strange value, a lost or an unknown field."""
    yield from mutations(text.encode(), seed, count // 2)
    rng = np.random.default_rng(seed)
    rows = [json.loads(line) for line in text.splitlines()] if lines else [json.loads(text)]
    for _ in range(count - count // 2):
        changed = copy.deepcopy(rows)
        owner, key = changed, int(rng.integers(len(changed)))
        while isinstance(owner[key], dict | list) and owner[key] and rng.random() < 0.8:
            owner = owner[key]
            keys = list(owner) if isinstance(owner, dict) else range(len(owner))
            key = keys[int(rng.integers(len(keys)))]
        if rng.random() < 0.2:
            del owner[key]
        elif rng.random() < 0.1 and isinstance(owner, dict):
            owner["unknown"] = 1
        else:
            owner[key] = STRANGE[int(rng.integers(len(STRANGE)))]
        yield "".join(json.dumps(row) + "\n" for row in changed).encode()


def zip_mutations(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Half of them damaged bytes, half whole archives, checksums included, of damaged entries."""
    yield from mutations(data, seed, count // 2)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    rng = np.random.default_rng(seed)
    for number in range(count - count // 2):
        chosen = list(entries)[int(rng.integers(len(entries)))]
        (damaged,) = mutations(entries[chosen], seed + number, 1)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in (entries | {chosen: damaged}).items():
                archive.writestr(name, content)
        yield buffer.getvalue()


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


def survey_file(path: pathlib.Path, read: Callable[[pathlib.Path], object], inputs: Iterator[bytes]) -> None:
    """`survey` of `read(path)` with each of the contents in `path`; prints the figures.

    What stood there must be read as well, or the mutations would all fail for want of something else.
    """
    whole = path.read_bytes()

    def read_content(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    print(path.name, survey(read_content, inputs))
    read_content(whole)
