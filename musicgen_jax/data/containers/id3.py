"""Artist and genre from ID3 tags: version 1, and 2.2 to 2.4 in every encoding (id3.org/id3v2.4.0-structure).

libsndfile reads them too, but drops every letter of a Latin-1 tag that is not ASCII.
"""

import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from musicgen_jax.data.containers.content import bytes_at
from musicgen_jax.data.containers.id3_genres import GENRES

HEADER_BYTES = 10
V1_BYTES = 128
MAX_TAG_BYTES = 1 << 26  # a tag with pictures has some megabytes
MAX_TEXT_BYTES = 1 << 16
MAX_FRAMES = 10_000
NAMES = {
    "TPE1": "artist",
    "TP1": "artist",
    "TCON": "genre",
    "TCO": "genre",
    "TALB": "album",
    "TAL": "album",
    "TIT2": "title",
    "TT2": "title",
}
ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")
BLANK = " \t\r\n\0"
UNSYNCHRONISED, EXTENDED = 0x80, 0x40  # flags of a tag
COMPRESSED, ENCRYPTED, GROUPED, FRAME_UNSYNCHRONISED, HAS_LENGTH = 8, 4, 64, 2, 1  # of a frame in version 2.4
V3_COMPRESSED, V3_ENCRYPTED, V3_GROUPED = 128, 64, 32


def leading(file: BinaryIO) -> tuple[int, dict[str, str]]:
    """(bytes, {"artist", "genre", "album", "title"}) of the version 2 tags that begin a file; (0, {}) without one."""
    position, found = 0, {}
    while (header := bytes_at(file, position, HEADER_BYTES))[:3] == b"ID3" and len(header) == HEADER_BYTES:
        size = HEADER_BYTES + _synchsafe(header[6:10])
        if size <= MAX_TAG_BYTES:
            found = parse(bytes_at(file, position, size)) | found
        position += size + (HEADER_BYTES if header[5] & 0x10 else 0)  # a footer
    return position, found


def trailing(file: BinaryIO, size: int) -> tuple[int, dict[str, str]]:
    """(bytes, {"artist", "genre", "album", "title"}) of a version 1 tag at the end of a file."""
    tag = bytes_at(file, max(0, size - V1_BYTES), V1_BYTES)
    if len(tag) < V1_BYTES or tag[:3] != b"TAG":
        return 0, {}
    title, artist, album = (
        tag[start : start + 30].split(b"\0")[0].decode("latin-1").strip(BLANK) for start in (3, 33, 63)
    )
    genre = GENRES[tag[127]] if tag[127] < len(GENRES) else ""
    return V1_BYTES, {"artist": artist, "genre": genre, "album": album, "title": title}


def parse(tag: bytes) -> dict[str, str]:
    """{"artist", "genre", "album", "title"} of a whole version 2 tag, each only if it is there and not empty."""
    version, flags = tag[3], tag[5]
    body = tag[HEADER_BYTES : HEADER_BYTES + _synchsafe(tag[6:10])]
    if flags & UNSYNCHRONISED and version < 4:
        body = body.replace(b"\xff\x00", b"\xff")
    if flags & EXTENDED and version >= 3:
        size = _synchsafe(body[:4]) if version == 4 else 4 + int.from_bytes(body[:4])
        body = body[size:]
    found = {}
    for name, content in _frames(body, version):
        if (key := NAMES.get(name)) and key not in found:
            value = _text(content)
            value = genre(value) if key == "genre" else "; ".join(filter(None, value.split("\0")))
            if value:
                found[key] = value
    return found


def _frames(body: bytes, version: int) -> Iterator[tuple[str, bytes]]:
    """The frames of a tag with the names of artist, genre, album and title: yields (name of the frame, its content)."""
    name_bytes, header_bytes = (3, 6) if version == 2 else (4, 10)
    position = 0
    for _ in range(MAX_FRAMES):
        if position + header_bytes > len(body) or not body[position]:
            return
        name = body[position : position + name_bytes].decode("latin-1")
        field = body[position + name_bytes : position + 2 * name_bytes]
        size, after = int.from_bytes(field), position + header_bytes
        # Some programs write plain sizes into version 2.4 too: they are right where a frame follows.
        plain = max(field) > 127 or not _frame_at(body, after + _synchsafe(field))
        if version == 4 and not (plain and _frame_at(body, after + size)):
            size = _synchsafe(field)
        content = body[position + header_bytes : position + header_bytes + size]
        if name in NAMES and len(content) <= MAX_TEXT_BYTES:
            yield name, content if version == 2 else _unpacked(content, body[position + 9], version)
        position += header_bytes + size


def _frame_at(body: bytes, position: int) -> bool:
    """Whether a frame of version 2.4, padding or the end is at `position`."""
    return position == len(body) or re.match(rb"[A-Z][A-Z0-9]{3}|\0", body[position : position + 4]) is not None


def _unpacked(content: bytes, flags: int, version: int) -> bytes:
    """A frame's content as it was before compression and unsynchronisation; empty where that cannot be undone."""
    if version == 3:
        start = (4 if flags & V3_COMPRESSED else 0) + (1 if flags & V3_GROUPED else 0)
        compressed, encrypted = flags & V3_COMPRESSED, flags & V3_ENCRYPTED
    else:
        start = (1 if flags & GROUPED else 0) + (4 if flags & HAS_LENGTH else 0)
        compressed, encrypted = flags & COMPRESSED, flags & ENCRYPTED
        if flags & FRAME_UNSYNCHRONISED:
            content = content.replace(b"\xff\x00", b"\xff")
    if encrypted:
        return b""
    if not compressed:
        return content[start:]
    try:
        return zlib.decompressobj().decompress(content[start:], MAX_TEXT_BYTES)
    except zlib.error:
        return b""


def _text(content: bytes) -> str:
    encoding = ENCODINGS[content[0]] if content and content[0] < len(ENCODINGS) else "latin-1"
    if encoding == "utf-16" and content[1:3] not in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16-le"  # without the mark that the standard wants: Windows programs
    return content[1:].decode(encoding, "replace").strip(BLANK + "\ufeff")


def genre(value: str) -> str:
    """A genre by its name: "17", "(17)" and "(17)Rock" are all Rock; of several the first is taken.

    Text behind a number in parentheses is a finer name of it ("(4)Eurodisco") and taken where there is one.
    """
    value = value.split("\0")[0].strip(BLANK)
    if value.startswith("(("):  # an escaped parenthesis: the name begins with one
        return value[1:]
    if match := re.fullmatch(r"\((\d+|RX|CR)\)(.*)", value, re.DOTALL):
        named, finer = _numbered(match[1]), match[2].strip(BLANK)
        if not finer or finer.startswith("(") or finer.lower() == named.lower():
            return named or (genre(finer) if finer else "")
        return finer
    return _numbered(value) if re.fullmatch(r"\d+|RX|CR", value) else value


def _numbered(number: str) -> str:
    if number in ("RX", "CR"):
        return {"RX": "Remix", "CR": "Cover"}[number]
    return GENRES[int(number)] if len(number) < 4 and int(number) < len(GENRES) else ""


def _synchsafe(field: bytes) -> int:
    """The number in bytes of which each has seven bits, as ID3 writes sizes."""
    value = 0
    for byte in field:
        value = value << 7 | byte & 0x7F
    return value
