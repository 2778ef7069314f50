"""MPEG audio layer III: its frames are counted, and their number is told to the decoder in a Xing header.

Without one libsndfile reads an mp3 only as far as it guesses its length from the first frame's bit rate: a quarter of a
file of variable bit rate may be all that comes out.
"""

import dataclasses
import re
import struct
from typing import BinaryIO

from musicgen_jax.data.containers.content import Content, Part, blocks_of, bytes_at, truncated

MPEG1_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MPEG1_RATES = (44100, 48000, 32000)
RATE_DIVISOR = {3: 1, 2: 2, 0: 4}  # MPEG 1, 2 and 2.5, by the version bits of the header
LAYER_3 = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")  # the first two bytes of a header
XING_BITRATE = 9  # its index: long enough a frame for the Xing header at every rate
VBRI_OFFSET = 36
MAX_TRIMMED = 4095 + 4095 + 1152  # samples that a gapless decoder may leave out: delay, padding, a frame of its own
MAX_MISSING = 0.01  # share of the promised frames above which a file counts as cut
BLOCK_BYTES = 1 << 18
TAGS_BEHIND = (b"APETAGEX", b"LYRICSBE")


@dataclasses.dataclass
class _Frames:
    """What lies between the tags of a file: `count` frames in the bytes [start, stop), the Xing header not counted.

    Attributes:
      start: first byte of the first frame, the Xing header included.
      stop: behind the last whole frame.
      header: the first frame's four bytes.
      info_bytes: size of the frame that holds a Xing, Info or VBRI header; 0 where there is none.
      promised: number of frames by that header, or None.
      count: frames that are there.
      stray: bytes between frames, and behind the last one.
      cut: whether a frame begins at `stop` and breaks off.
      variable: whether the frames' bit rates differ.
    """

    start: int
    stop: int
    header: bytes
    info_bytes: int = 0
    promised: int | None = None
    count: int = 0
    stray: int = 0
    cut: bool = False
    variable: bool = False


def read(file: BinaryIO, start: int, stop: int) -> Content | None:
    """Counts the frames in the bytes [start, stop), tags not included; None where there are none of layer III.

    Raises:
      UserError: a Xing header promises more frames than there are.
    """
    frames = _walk(file, start, stop)
    if frames is None:
        return None
    count, promised = frames.count, frames.promised
    warnings = []
    if frames.stray:
        warnings.append(f"stray bytes: {frames.stray} bytes between or behind its MPEG frames are left out")
    if promised is not None and promised - count > max(4, MAX_MISSING * promised):
        raise truncated(f"{count} of {promised} MPEG frames are there")
    if promised is not None and abs(promised - count) > 1:
        warnings.append(f"wrong length: its header tells of {promised} MPEG frames, {count} are there and are read")
    if promised is None:
        warnings += ["unknown length: it has no Xing header and is read to its end"] * frames.variable
        warnings += ["cut: its last MPEG frame breaks off and is left out"] * frames.cut
    least = count * samples(frames.header) - MAX_TRIMMED
    if promised is not None and abs(promised - count) <= 1:
        part = Part(frames.start, frames.stop, min_frames=least)
    else:
        part = Part(frames.start + frames.info_bytes, frames.stop, xing(frames.header, count), least)
    return Content((part,), tuple(warnings))


def _walk(file: BinaryIO, start: int, stop: int) -> _Frames | None:
    position = _sync(file, start, stop, None)
    if position is None:
        return None
    header = bytes_at(file, position, 4)
    frames = _Frames(position, position, header)
    frames.info_bytes, frames.promised = _info(bytes_at(file, position, frame_bytes(header)))
    position += frames.info_bytes
    file.seek(position)
    first = b""
    while position + 4 <= stop:
        head = file.read(4)
        size = frame_bytes(head) if _alike(head, header) else 0
        if not size:
            found = _sync(file, position + 1, stop, header)
            if found is None:
                frames.stray += 0 if bytes_at(file, position, 8) in TAGS_BEHIND else stop - position
                break
            frames.stray += found - position
            position = found
            file.seek(position)
            continue
        frames.cut = position + size > stop
        if frames.cut:
            break
        first = first or head
        frames.variable |= head[2] & 0xF0 != first[2] & 0xF0
        frames.count += 1
        position += size
        frames.stop = position
        file.seek(size - 4, 1)
    frames.stop = max(frames.stop, frames.start + frames.info_bytes)
    return frames


def _sync(file: BinaryIO, start: int, stop: int, like: bytes | None) -> int | None:
    """Position of the first frame from `start` on that is followed by another one, or by `stop`."""
    for base, block in blocks_of(file, start, stop, BLOCK_BYTES, overlap=3):
        for match in LAYER_3.finditer(block):
            position = base + match.start()
            header = block[match.start() : match.start() + 4]
            if len(header) < 4 or match.start() >= BLOCK_BYTES:
                break
            size = frame_bytes(header)
            if not size or (like is not None and not _alike(header, like)):
                continue
            following = bytes_at(file, position + size, 4)
            if position + size == stop or (position + size < stop and _alike(following, header)):
                return position
    return None


def _alike(header: bytes, other: bytes) -> bool:
    """Whether two headers are of one stream: the same version, layer and sample rate."""
    same = header[:1] == other[:1] and len(header) == 4
    return same and header[1] & 0xFE == other[1] & 0xFE and header[2] & 0x0C == other[2] & 0x0C


def frame_bytes(header: bytes) -> int:
    """Size of the layer III frame with this 4-byte header; 0 where it is none, or of free format."""
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if header[0] != 0xFF or header[1] < 0xE0 or version == 1 or layer != 1 or bitrate in (0, 15) or rate == 3:
        return 0
    kbps = (MPEG1_KBPS if version == 3 else MPEG2_KBPS)[bitrate]
    padding = header[2] >> 1 & 1
    return samples(header) // 8 * kbps * 1000 // (MPEG1_RATES[rate] // RATE_DIVISOR[version]) + padding


def samples(header: bytes) -> int:
    """Sample frames in a layer III frame."""
    return 1152 if header[1] >> 3 & 3 == 3 else 576


def _side_bytes(header: bytes) -> int:
    """Size of the side information, behind which a Xing header stands."""
    mono = header[3] >> 6 == 3
    return (17 if mono else 32) if samples(header) == 1152 else (9 if mono else 17)


def _info(frame: bytes) -> tuple[int, int | None]:
    """(size, number of frames that it promises) of a frame that holds a Xing, Info or VBRI header; else (0, None)."""
    for offset in (4 + _side_bytes(frame), 6 + _side_bytes(frame)):  # the second: behind a checksum
        if frame[offset : offset + 4] in (b"Xing", b"Info"):
            flags, count = struct.unpack(">II", frame[offset + 4 : offset + 12].ljust(8, b"\0"))
            return len(frame), count if flags & 1 else None
    if frame[VBRI_OFFSET : VBRI_OFFSET + 4] == b"VBRI":
        return len(frame), int.from_bytes(frame[VBRI_OFFSET + 14 : VBRI_OFFSET + 18])
    return 0, None


def xing(header: bytes, count: int) -> bytes:
    """A frame that says that `count` frames like `header` follow."""
    head = bytes([0xFF, header[1] | 1, XING_BITRATE << 4 | header[2] & 0x0C, header[3]])  # no checksum, no padding
    return (head + bytes(_side_bytes(head)) + b"Xing" + struct.pack(">II", 1, count)).ljust(frame_bytes(head), b"\0")
