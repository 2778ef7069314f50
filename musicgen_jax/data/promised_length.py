"""How much audio a file says it holds, read from the container itself.

libsndfile hides what this module needs: it clamps the length of a cut wav to what is there, takes the last page it
finds for the end of an ogg, and reads an mp3 without a Xing header only as far as it *guesses* its length.
"""

import os
import struct
from typing import BinaryIO

MPEG1_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MPEG1_RATES = (44100, 48000, 32000)
RATE_DIVISOR = {3: 1, 2: 2, 0: 4}  # MPEG 1, 2 and 2.5, by the version bits of the header
# Sizes that a program writes when it does not know the length yet (a recording to a pipe).
UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF)
LAST_PAGE_BYTES = 1 << 17  # an Ogg page is at most 65,307 bytes


def truncation(path: str | os.PathLike[str], decoded_frames: int, header_frames: int) -> str:
    """Says in words how a file falls short of what its container promises, or "" when it doesn't.

    Args:
      path: a file that libsndfile opens; the container is known by its first bytes, not by its name.
      decoded_frames: frames per channel that could be decoded.
      header_frames: frames per channel that libsndfile announced.
    """
    with open(path, "rb") as file:
        magic = file.read(12)
        if magic[:4] == b"RIFF" and magic[8:] == b"WAVE":
            promised, present = _wav_data_bytes(file)
            if present < promised:
                return f"its header promises {promised} bytes of audio and {present} are there"
        if magic[:4] == b"OggS" and not _ogg_has_end(file):
            return "its last Ogg page is not marked as the end of the stream"
        if decoded_frames < header_frames - header_frames // 100 - 4096:
            return f"{decoded_frames} of {header_frames} frames can be decoded"
        if magic[:3] == b"ID3" or (magic[0] == 0xFF and magic[1] >= 0xE0):
            counted = mp3_frames(file)
            if decoded_frames < counted - counted // 100 - 4096:
                return f"{decoded_frames} of {counted} frames can be decoded, as its length is not in a Xing header"
    return ""


def _wav_data_bytes(file: BinaryIO) -> tuple[int, int]:
    """(bytes that the data chunk promises, bytes that are there); equal when the header leaves the length open."""
    file_size = file.seek(0, os.SEEK_END)
    position = 12
    while position + 8 <= file_size:
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8))
        if name == b"data":
            present = file_size - position - 8
            return (present, present) if size in UNKNOWN_SIZES else (size, present)
        position += 8 + size + size % 2
    return 0, 0


def _ogg_has_end(file: BinaryIO) -> bool:
    """Whether the last Ogg page carries the end-of-stream flag (RFC 3533, section 6) and is there to its last byte."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - LAST_PAGE_BYTES))
    tail = file.read()
    page = tail.rfind(b"OggS\0")
    if page < 0 or len(tail) < page + 27 or not tail[page + 5] & 4:
        return False
    num_segments = tail[page + 26]
    body = sum(tail[page + 27 : page + 27 + num_segments])
    return len(tail) >= page + 27 + num_segments + body


def mp3_frames(file: BinaryIO) -> int:
    """Counts the sample frames of the MPEG layer III frames in a file (a Xing frame included), walking the headers."""
    file.seek(0)
    start = file.read(10)
    position = 0
    if start[:3] == b"ID3" and len(start) == 10:
        # ID3v2 sizes are "synchsafe": seven bits a byte.
        position = 10 + ((start[6] << 21) | (start[7] << 14) | (start[8] << 7) | start[9])
    frames = 0
    file.seek(position)
    while len(header := file.read(4)) == 4:
        length, samples = _mp3_frame(header)
        frames += samples
        position += length or 1
        file.seek(position)
    return frames


def _mp3_frame(header: bytes) -> tuple[int, int]:
    """(bytes, sample frames) of the layer III frame with this 4-byte header; (0, 0) where it is none."""
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if header[0] != 0xFF or header[1] < 0xE0 or version == 1 or layer != 1 or bitrate in (0, 15) or rate == 3:
        return 0, 0
    kbps = (MPEG1_KBPS if version == 3 else MPEG2_KBPS)[bitrate]
    samples = 1152 if version == 3 else 576
    padding = header[2] >> 1 & 1
    return samples // 8 * kbps * 1000 // (MPEG1_RATES[rate] // RATE_DIVISOR[version]) + padding, samples
