"""Ogg: every page is checked, and chained streams are taken apart (RFC 3533).

libsndfile skips what it cannot read, seeks for the end by trial, and knows the first stream of a chain alone.
"""

import dataclasses
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from musicgen_jax.data.containers import tags
from musicgen_jax.data.containers.content import Content, Part, bytes_at, damaged, truncated

MAGIC = b"OggS"
HEADER = struct.Struct("<4sBBqIIIB")  # magic, version, flags, granule, serial, number, checksum, segments
BEGINS, ENDS = 2, 4  # flags: first and last page of a logical stream
MAX_COMMENT_BYTES = 1 << 24  # pictures among the comments are the largest
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclasses.dataclass(frozen=True)
class Page:
    """One page: a header and up to 255 segments of packets of one logical stream.

    Attributes:
      start: its first byte in the file.
      stop: behind its last byte.
      flags: `BEGINS` and `ENDS` among others.
      granule: how much of the stream is told when this page ends; -1 where no packet ends in it.
      serial: number of the logical stream.
      number: of the page in that stream.
      segments: the lengths of its segments, a byte each; a packet ends with a segment shorter than 255 bytes.
      body: the segments.
    """

    start: int
    stop: int
    flags: int
    granule: int
    serial: int
    number: int
    segments: bytes
    body: bytes

    @property
    def unfinished(self) -> bool:
        """Whether its last packet goes on in the stream's next page."""
        return self.segments[-1:] == b"\xff"


@dataclasses.dataclass
class _Link:
    """One of the physically consecutive parts of a chained file; streams of a film run side by side in it."""

    start: int
    stop: int = 0
    last: dict[int, Page] = dataclasses.field(default_factory=dict)
    reached: dict[int, int] = dataclasses.field(default_factory=dict)  # the last granule of each stream
    has_data: bool = False
    packets: dict[int, list[bytearray]] = dataclasses.field(default_factory=dict)

    def add(self, page: Page) -> None:
        """Takes in the next page of the file. Raises UserError where one before it is missing or it is out of order."""
        previous = self.last.get(page.serial)
        if previous is not None and page.number != (previous.number + 1) % 2**32:
            raise damaged(f"Ogg pages are missing before byte {page.start}: {page.number} follows {previous.number}")
        if previous is None and not page.flags & BEGINS:
            raise damaged(f"the Ogg page at byte {page.start} belongs to a stream that never began")
        if 0 <= page.granule < self.reached.get(page.serial, 0):
            raise damaged(f"the Ogg page at byte {page.start} goes back in time")
        self.reached[page.serial] = max(page.granule, self.reached.get(page.serial, 0))
        self.last[page.serial] = page
        self.stop, self.has_data = page.stop, self.has_data or not page.flags & BEGINS
        self._collect(page)

    def _collect(self, page: Page) -> None:
        """Puts together the first two packets of each stream: its codec's name and its comments."""
        packets, position = self.packets.setdefault(page.serial, [bytearray()]), 0
        for size in page.segments:
            if len(packets) > 2 or len(packets[-1]) > MAX_COMMENT_BYTES:
                return
            packets[-1] += page.body[position : position + size]
            position += size
            if size < 255:
                packets.append(bytearray())

    def comments(self) -> tuple[str, str, str, str]:
        """(artist, genre, album, title) of the first stream that has any."""
        known = ((b"\x03vorbis", 7), (b"OpusTags", 8), (b"\x04", 4), (b"\x84", 4))  # the last two: FLAC in Ogg
        for _, comment, *_ in (packets for packets in self.packets.values() if len(packets) > 1):
            for magic, skipped in known:
                if comment.startswith(magic):
                    return tags.from_vorbis_comment(bytes(comment[skipped:]))
        return "", "", "", ""


def read(file: BinaryIO, start: int, size: int) -> Content:
    """Checks all pages from the byte `start` to the end of the file.

    Returns:
      One part for each link of the chain. A stream that is not marked as ended is kept with a warning if its last
      packet is whole.

    Raises:
      UserError: a page is cut, changed or missing.
    """
    links: list[_Link] = []
    end = start
    for page in pages(file, start, size):
        if not links or (page.flags & BEGINS and links[-1].has_data):
            links.append(_Link(page.start))
        links[-1].add(page)
        end = page.stop
    warnings = []
    if end < size:
        warnings.append(f"stray bytes: {size - end} bytes behind its last Ogg page are left out")
    ends = [page for link in links for page in link.last.values()]
    if any(page.granule < 0 and min(page.segments, default=255) < 255 for page in ends):
        raise damaged("its last Ogg page does not tell how long it is")
    open_ends = [page for page in ends if not page.flags & ENDS]
    if any(page.unfinished for page in open_ends):
        raise truncated("its last Ogg packet breaks off")
    if open_ends:
        warnings.append(
            "no end mark: its last Ogg page is not marked as the end of the stream, which is read as far as it goes"
        )
    if len(links) > 1:
        warnings.append(f"chained: {len(links)} Ogg streams, one after the other")
    if any(len(link.last) > 1 for link in links):
        warnings.append("several streams: they run side by side in one Ogg file, and one of them is read")
    return Content(tuple(_part(file, link) for link in links), tuple(warnings), *links[0].comments())


def _part(file: BinaryIO, link: _Link) -> Part:
    """The link with an end mark: without one libsndfile takes some Opus streams for damaged."""
    page = next(iter(link.last.values()))
    if len(link.last) > 1 or page.flags & ENDS:
        return Part(link.start, link.stop)
    marked = bytearray(bytes_at(file, page.start, page.stop - page.start))
    marked[5] |= ENDS
    marked[22:26] = bytes(4)
    marked[22:26] = crc(bytes(marked)).to_bytes(4, "little")
    return Part(link.start, page.start, footer=bytes(marked))


def pages(file: BinaryIO, position: int, size: int) -> Iterator[Page]:
    """The pages from `position` on, in order. What follows the last one, if it is no page, is left to the caller.

    Raises:
      UserError: bytes between pages, a wrong checksum, or a page that breaks off.
    """
    while position < size:
        header = bytes_at(file, position, HEADER.size)
        if header[:4] != MAGIC[: len(header)]:
            if _has_page(file, position, size):
                raise damaged(f"the bytes from {position} on are no Ogg page")
            return
        if len(header) < HEADER.size:
            raise truncated("it ends within an Ogg page")
        _, _, flags, granule, serial, number, checksum, num_segments = HEADER.unpack(header)
        segments = file.read(num_segments)
        body = file.read(sum(segments))
        if len(segments) < num_segments or len(body) < sum(segments):
            raise truncated("it ends within an Ogg page")
        if crc(header[:22] + bytes(4) + header[26:] + segments + body) != checksum:
            raise damaged(f"the Ogg page at byte {position} has a wrong checksum")
        stop = position + len(header) + len(segments) + len(body)
        yield Page(position, stop, flags, granule, serial, number, segments, body)
        position = stop


def _has_page(file: BinaryIO, start: int, size: int) -> bool:
    file.seek(start)
    tail = b""
    while block := file.read(1 << 20):
        if MAGIC in tail + block:
            return True
        tail = block[-3:]
    return False


def crc(page: bytes) -> int:
    """Checksum of a page whose checksum field is zero (RFC 3533, section 6): polynomial 0x04c11db7, not reflected.

    zlib's CRC-32 has the same polynomial with bits in the other order, and begins and ends with all ones.
    """
    reflected = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(REVERSED), "big")
