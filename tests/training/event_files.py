"""Reads TensorBoard's files by the format's description, with a checksum of its own."""

import pathlib
import struct

from tensorboardX.proto import event_pb2

POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected


def _masked(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def events(path: pathlib.Path) -> list:
    """All events; ValueError where a byte is wrong or missing."""
    content, found, place = path.read_bytes(), [], 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        if struct.unpack_from("<I", content, place + 8)[0] != _masked(content[place : place + 8]):
            raise ValueError(f"checksum of the length at byte {place}")
        data = content[place + 12 : place + 12 + length]
        # Bit by bit is slow: of large records, sounds, the length and the end are looked at.
        checksum = struct.unpack_from("<I", content, place + 12 + length)[0]
        if length < 5000 and checksum != _masked(data):
            raise ValueError(f"checksum of the event at byte {place}")
        found.append(event_pb2.Event.FromString(data))
        place += 16 + length
    return found


def lines(workdir: pathlib.Path) -> list[tuple[int, list[tuple[str, object]]]]:
    """(step, [(tag, value)]) of every event of all files of a run, in order; a value is a number, or the protocol
    buffer of a sound or picture."""
    found = []
    for path in sorted(workdir.glob("events.out.tfevents.*")):
        for event in events(path):
            if event.HasField("summary"):
                values = [(one.tag, getattr(one, one.WhichOneof("value"))) for one in event.summary.value]
                found.append((event.step, values))
    return found
