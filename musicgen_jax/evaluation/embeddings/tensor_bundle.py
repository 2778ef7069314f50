"""Float arrays of a TensorFlow checkpoint, read without TensorFlow.

Its index is a table of LevelDB (blocks of keys, each with what it adds to the key before it; a footer says where the
block is that lists them), whose values are protocol buffers: type, shape, and where the array lies in the data file.
Checkpoints of one data file are read, whose index is not compressed, as TensorFlow writes them.
"""

import pathlib
import struct
from collections.abc import Iterator

import numpy as np

from musicgen_jax.config import require
from musicgen_jax.runtime import files

MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
TRAILER_BYTES = 5  # of a block: how it is compressed, and a checksum
FLOAT32 = 1  # TensorFlow's number of the type
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # how a protocol buffer stores a field
MAX_BYTES = 2**30
INDEX_NAME, DATA_NAME = ".index", ".data-00000-of-00001"


def read(folder: files.Path, remedy: str) -> dict[str, np.ndarray]:
    """{name: float32 array} of the checkpoint in a folder, whose files are called .index and .data-00000-of-00001.

    Arrays that are not float32 are left out.

    Args:
      folder: of the files.
      remedy: what to do where they are not there, or damaged.

    Raises:
      NotFoundError: a file is not there.
      UserError: a file is damaged, or no checkpoint.
    """
    index, data = pathlib.Path(folder, INDEX_NAME), pathlib.Path(folder, DATA_NAME)
    for path in (index, data):
        size = files.require_file(path, "file of a TensorFlow checkpoint")
        require(size <= MAX_BYTES, f"{path} has {size} bytes, more than such a file can have: {remedy}")
    values = data.read_bytes()
    with files.reading(index, remedy):
        entries = {name: _entry(message) for name, message in _table(index.read_bytes()) if name}
    with files.reading(data, remedy):
        return {
            name.decode(): _array(values, shape, offset, size)
            for name, (dtype, shape, offset, size) in entries.items()
            if dtype == FLOAT32
        }


def _array(values: bytes, shape: tuple[int, ...], offset: int, size: int) -> np.ndarray:
    if not 0 <= offset <= offset + size <= len(values):
        raise ValueError(f"an array lies at bytes {offset} to {offset + size} of {len(values)}")
    array = np.frombuffer(values, "<f4", count=size // 4, offset=offset).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError("a weight is not finite")
    return array


def _entry(message: bytes) -> tuple[int, tuple[int, ...], int, int]:
    """Type, shape, offset and size of a BundleEntryProto."""
    dtype, offset, size, shape = 0, 0, 0, []
    for number, value in _fields(message):
        if number == 1:
            dtype = value
        elif number == 2:
            dimensions = (dict(_fields(one)) for field, one in _fields(value) if field == 2)
            shape = [dimension.get(1, 0) for dimension in dimensions]
        elif number == 3 and value != 0:
            raise ValueError("it has more than one data file")
        elif number == 4:
            offset = value
        elif number == 5:
            size = value
    return dtype, tuple(shape), offset, size


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of a LevelDB table."""
    footer = content[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("it is no table of LevelDB")
    _, place = _handle(footer, 0)
    (start, size), _ = _handle(footer, place)
    for _, value in _block(content, start, size):
        (start, size), _ = _handle(value, 0)
        yield from _block(content, start, size)


def _handle(content: bytes, place: int) -> tuple[tuple[int, int], int]:
    start, place = _varint(content, place)
    size, place = _varint(content, place)
    return (start, size), place


def _block(content: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of a block; a key begins as the one before it does."""
    block = content[start : start + size]
    if len(block) < size or size < 4 or content[start + size : start + size + TRAILER_BYTES][:1] != b"\0":
        raise ValueError("a block is not whole, or compressed")
    end = size - 4 - 4 * struct.unpack("<I", block[-4:])[0]  # behind it: places where keys are whole
    key, place = b"", 0
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        length, place = _varint(block, place)
        if place + own + length > end or shared > len(key):
            raise ValueError("an entry reaches beyond its block")
        key = key[:shared] + block[place : place + own]
        yield key, block[place + own : place + own + length]
        place += own + length


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of the fields of a protocol buffer."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind, size = tag & 7, 0
        if kind == VARINT:
            value, place = _varint(message, place)
            yield tag >> 3, value
            continue
        if kind == BYTES:
            size, place = _varint(message, place)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"a field of type {kind}")
        if place + size > len(message):
            raise ValueError("a field reaches beyond its message")
        yield tag >> 3, message[place : place + size]
        place += size


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """A number in groups of 7 bits, the lowest first, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number has more than 64 bits")
