"""Writes TensorFlow checkpoints with random weights, in the format of those that musicnn's wheel has."""

import pathlib
import struct

import numpy as np


def varint(value: int) -> bytes:
    found = b""
    while value >= 128:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def field(number: int, content: int | bytes) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def block(entries: list[tuple[bytes, bytes]], restart_interval: int = 16) -> bytes:
    """Entries in the order of their keys, each with what it adds to the key before it."""
    content, restarts, before = b"", [], b""
    for index, (key, value) in enumerate(entries):
        shared = 0
        if index % restart_interval == 0:
            restarts.append(len(content))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return content + struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))


def write(folder: pathlib.Path, arrays: dict[str, np.ndarray], entries_a_block: int = 40) -> None:
    """.index and .data-00000-of-00001 of float32 arrays, with a scalar of another type beside them."""
    data, entries = b"", [(b"", field(1, 1) + field(3, field(1, 1)))]
    for name, array in sorted((arrays | {"global_step": np.int64(7)}).items()):
        raw = np.ascontiguousarray(array).tobytes()
        shape = b"".join(field(2, field(1, size)) for size in np.shape(array))
        dtype = 1 if array.dtype == np.float32 else 9
        offset = field(4, len(data)) if data else b""  # zero is left out
        checksum = varint(6 << 3 | 5) + struct.pack("<I", 0x1234)
        entries.append((name.encode(), field(1, dtype) + field(2, shape) + offset + field(5, len(raw)) + checksum))
        data += raw
    index, handles = b"", []
    for start in range(0, len(entries), entries_a_block):
        part = entries[start : start + entries_a_block]
        content = block(part)
        handles.append((part[-1][0] + b"\xff", varint(len(index)) + varint(len(content))))
        index += content + b"\0\0\0\0\0"
    places = []
    for content in (block([]), block(handles, 1)):
        places.append(varint(len(index)) + varint(len(content)))
        index += content + b"\0\0\0\0\0"
    footer = b"".join(places).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    folder.mkdir(exist_ok=True)
    (folder / ".index").write_bytes(index + footer)
    (folder / ".data-00000-of-00001").write_bytes(data)
