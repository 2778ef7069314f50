"""FLAC: what its STREAMINFO block promises, and its comments (RFC 9639)."""

from typing import BinaryIO

from musicgen_jax.data.containers import tags
from musicgen_jax.data.containers.content import Content, Part, bytes_at, damaged, truncated

MAGIC = b"fLaC"
STREAMINFO, VORBIS_COMMENT, INVALID = 0, 4, 127
STREAMINFO_BYTES = 34


def read(file: BinaryIO, start: int, stop: int) -> Content:
    """Reads the metadata blocks of a stream that lies in the bytes [start, stop) of the file.

    Raises:
      UserError: it ends within them, or the first is damaged.
    """
    position, last, total, names = start + len(MAGIC), False, 0, ("", "", "")
    part = Part(start, stop, min_frames=0)
    while not last:
        header = bytes_at(file, position, 4)
        size = int.from_bytes(header[1:])
        if len(header) < 4 or position + 4 + size > stop:
            raise truncated("it ends within its FLAC header")
        last, kind = header[0] >= 128, header[0] % 128
        if kind == STREAMINFO:
            block = file.read(size)
            if size != STREAMINFO_BYTES:
                raise damaged(f"the STREAMINFO block of its FLAC header has {size} bytes, not {STREAMINFO_BYTES}")
            total = int.from_bytes(block[13:18]) % 2**36  # the low 36 of 40 bits
            # The decoder is told of no length, at which it would stop though more followed.
            opening = MAGIC + header + block[:13] + bytes([block[13] & 0xF0]) + bytes(4) + block[18:]
            part = Part(position + 4 + size, stop, opening, min_frames=total, frames=total)
        elif kind == VORBIS_COMMENT and not any(names):
            names = tags.from_vorbis_comment(file.read(size))
        position += 4 + size
    warnings = () if total else ("unknown length: its FLAC header does not say it, it is read to its end",)
    return Content((part,), warnings, *names)
