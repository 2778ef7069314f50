"""Containers made of chunks (wav in all its kinds, AIFF, Wave64): how much audio is promised, how much is there.

libsndfile clamps a length that is too large in silence and believes one that is too small; and it finds no samples
behind a chunk of odd size that lacks its last byte. So it gets a wav with a header of our own.
"""

import dataclasses
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from musicgen_jax.data.containers import id3, tags
from musicgen_jax.data.containers.content import Content, Part, bytes_at, truncated

MAX_TAG_BYTES = 1 << 24
MAX_CHUNKS = 10_000
MAX_FORM_BYTES = 1 << 12
# A length may be wrong by a hundredth, within these bounds, without the file counting as cut: 4 KiB are 23 ms of CD.
MIN_SLACK_BYTES, MAX_SLACK_BYTES = 64, 4096
# What programs write behind the samples, and how far from the file's end it is looked for where their length is wrong.
TRAILING, TRAILING_BYTES, TRAILING_PLACES = (
    (b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"iXML", b"_PMX"),
    1 << 20,
    32,
)
NEAR = 1 << 16  # of 2 or 4 GiB: a length that a program writes while it does not know it yet, or that ran over


@dataclasses.dataclass(frozen=True)
class Kind:
    """How a container writes its chunks.

    Attributes:
      first: byte at which the first chunk begins.
      name_bytes: of a chunk's name.
      size: format of a chunk's size.
      own: bytes of name and size that the size counts too.
      align: chunks begin at multiples of it.
      audio: name of the chunk with the samples.
      is_wave: whether it is a wav, for which `wav_header` can write a header that is right.
    """

    first: int = 12
    name_bytes: int = 4
    size: str = "<I"
    own: int = 0
    align: int = 2
    audio: bytes = b"data"
    is_wave: bool = True

    @property
    def header_bytes(self) -> int:
        """Of a chunk: its name and its size."""
        return self.name_bytes + struct.calcsize(self.size)


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A chunk of a file.

    Attributes:
      name: that its header has.
      start: byte at which its content begins.
      size: bytes of content that its header promises.
    """

    name: bytes
    start: int
    size: int


AIFF = Kind(size=">I", audio=b"SSND", is_wave=False)
WAVE64 = Kind(40, 16, "<Q", own=24, align=8, audio=b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a", is_wave=False)
KINDS = {
    (b"RIFF", b"WAVE"): Kind(),
    (b"RF64", b"WAVE"): Kind(),
    (b"RIFX", b"WAVE"): Kind(size=">I"),
    (b"FORM", b"AIFF"): AIFF,
    (b"FORM", b"AIFC"): AIFF,
    (b"riff", b"\xa5\xd6(\xdb"): WAVE64,
}


def kind_of(magic: bytes) -> Kind | None:
    """The container whose file begins with these 12 bytes, if it is one of these."""
    return KINDS.get((magic[:4], magic[8:12]))


def read(file: BinaryIO, size: int, kind: Kind) -> Content | None:
    """Compares what the chunk of samples promises with what is there; None where there is no such chunk.

    Raises:
      UserError: the file breaks off before the promised end.
    """
    before: list[Chunk] = []
    for audio in _chunks(file, kind.first, size, kind):
        if audio.name == kind.audio:
            break
        before.append(audio)
    else:
        return None
    promised = audio.size
    for chunk in before:
        if chunk.name == b"ds64" and promised == 0xFFFFFFFF:
            promised = int.from_bytes(bytes_at(file, chunk.start + 8, 8), "little")
    stop, warnings = _end(file, audio.start, promised, size, kind)
    part = Part(0, size)
    for chunk in before:
        if kind.is_wave and chunk.name == b"fmt ":
            form = bytes_at(file, chunk.start, min(chunk.size, MAX_FORM_BYTES))
            part = Part(audio.start, stop, wav_header(form, stop - audio.start, kind.size))
    after = list(_chunks(file, stop + -stop % kind.align, size, kind))
    more = sum(chunk.size for chunk in after if chunk.name == kind.audio)
    if more:
        warnings += (f"more samples: {more} bytes in a second chunk of samples are left out",)
    names = _names(file, [*before, *after])
    return Content((part,), warnings, *(names.get(name, "") for name in ("artist", "genre", "album", "title")))


def _end(file: BinaryIO, start: int, promised: int, size: int, kind: Kind) -> tuple[int, tuple[str, ...]]:
    """(byte behind the last sample, warnings for a person), of samples from byte `start` on.

    Args:
      file: with the samples.
      start: first byte of the samples.
      promised: bytes of samples that the header says there are.
      size: of the file, in bytes.
      kind: how its chunks are written.

    Raises:
      UserError: far fewer bytes are there than are promised.
    """
    present, rest = size - start, start + promised
    if promised <= present and _is_chunks(file, rest, size, kind):
        return rest, ()
    placeholder = promised >= 2**63 - NEAR or min(abs(promised - 2**31), abs(promised - 2**32)) <= NEAR
    stop = _before_trailing_chunks(file, start, size, kind)
    off_by_little = stop < size and abs(stop - rest) <= MIN_SLACK_BYTES
    if promised <= present and size - rest < promised and not placeholder and not off_by_little:
        return rest, (f"stray bytes: {size - rest} bytes behind its samples belong to no chunk and are left out",)
    missing = promised - present
    if not placeholder and missing > max(MIN_SLACK_BYTES, min(MAX_SLACK_BYTES, promised // 100)):
        raise truncated(f"its header promises {promised} bytes of audio and {present} are there")
    known = f"its header says {promised} bytes of audio, {stop - start} are there and are read"
    return stop, (f"wrong length: {known}",)


def _before_trailing_chunks(file: BinaryIO, start: int, size: int, kind: Kind) -> int:
    """Where the samples end whose length nobody says: at the first of the chunks that reach to the file's end."""
    first = max(start, size - TRAILING_BYTES)
    tail = bytes_at(file, first, size - first)
    found = sorted(first + match.start() for match in re.finditer(b"|".join(map(re.escape, TRAILING)), tail))
    # Samples spell few of these names; a file of nothing else must not be walked from each of them.
    fits = (
        place for place in found[:TRAILING_PLACES] if place % kind.align == 0 and _is_chunks(file, place, size, kind)
    )
    return next(fits, size)


def _chunks(file: BinaryIO, position: int, stop: int, kind: Kind) -> Iterator[Chunk]:
    """The chunks from `position` on, up to what is none. An odd one may lack the byte that should fill it up."""
    for _ in range(MAX_CHUNKS):
        if position + kind.header_bytes > stop or not _is_name(file, position):
            return
        header = bytes_at(file, position, kind.header_bytes)
        (size,) = struct.unpack(kind.size, header[kind.name_bytes :])
        size = max(0, size - kind.own)
        yield Chunk(header[: kind.name_bytes], position + kind.header_bytes, size)
        end = position + kind.header_bytes + size
        position = end + -end % kind.align
        if position != end and not _is_name(file, position) and _is_name(file, end):
            position = end


def _is_name(file: BinaryIO, position: int) -> bool:
    name = bytes_at(file, position, 4)
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def _is_chunks(file: BinaryIO, position: int, size: int, kind: Kind) -> bool:
    """Whether the bytes from `position` to the end of the file are whole chunks, or fewer than a chunk's header."""
    position = min(position + -position % kind.align, size)
    for chunk in _chunks(file, position, size, kind):
        position = chunk.start + chunk.size
    return position <= size < position + kind.header_bytes + kind.align


def _names(file: BinaryIO, found: list[Chunk]) -> dict[str, str]:
    """Artist, genre, album, title by the chunks around the samples; an ID3 tag goes before the container's words."""
    by_container: dict[str, str] = {}
    by_id3: dict[str, str] = {}
    for chunk in found:
        if chunk.size > MAX_TAG_BYTES or chunk.name not in (b"LIST", b"id3 ", b"ID3 ", b"AUTH", b"NAME"):
            continue
        content = bytes_at(file, chunk.start, chunk.size)
        if content[:4] == b"INFO":
            by_container |= tags.from_riff_info(content)
        elif chunk.name in (b"AUTH", b"NAME"):
            by_container["artist" if chunk.name == b"AUTH" else "title"] = tags.text(content)
        elif content[:3] == b"ID3" and len(content) >= id3.HEADER_BYTES:
            by_id3 |= id3.parse(content)
    return by_container | by_id3


def wav_header(form: bytes, size: int, order: str) -> bytes:
    """The header of a wav file with `size` bytes of samples.

    Args:
      form: content of its "fmt " chunk.
      size: beyond 4 GiB the header is that of RF64 (EBU Tech 3306).
      order: struct format of a chunk's size, "<I" or ">I".
    """
    pack = struct.Struct(order).pack
    form += bytes(len(form) % 2)
    rest = b"fmt " + pack(len(form)) + form + b"data"
    if len(rest) + 8 + size < 2**32:
        return (b"RIFF" if order == "<I" else b"RIFX") + pack(len(rest) + 8 + size) + b"WAVE" + rest + pack(size)
    sizes = struct.pack("<QQQI", len(rest) + 44 + size, size, 0, 0)
    return b"RF64\xff\xff\xff\xffWAVEds64" + pack(len(sizes)) + sizes + rest + b"\xff\xff\xff\xff"
