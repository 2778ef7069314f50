"""One recording as codes in one file: what a codec's encoder writes and its decoder reads.

    offset            content
    0                 7 bytes   "MGCODES"
    7                 1 byte    version of the format: 1
    8                 4 bytes   N, length of the header; unsigned, little-endian
    12                N bytes   header, JSON in UTF-8: the fields of `Recording`; for the codes, "lengths" of the tiers
    12 + N            codes, tier after tier in the order of "lengths", each from a whole byte on: integers of
                      ceil(log2(num_codes)) bits, most significant bit first, the last byte filled up with zeros
    file size - 4     4 bytes   CRC-32 (zlib) of all before; unsigned, little-endian

Packed bits come within a byte a tier of codes x bits; npz would store whole bytes and a zip directory, and Deflate
finds little in codes that are used about equally often. A person reads the header with `head -c 400`.
"""

import contextlib
import itertools
import json
import math
import os
import pathlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.errors import NotFoundError, UserError

MAGIC = b"MGCODES"
VERSION = 1
OPENING, CHECKSUM = struct.Struct("<7sBI"), struct.Struct("<I")
BLOCK_CODES = 1 << 16  # packed at a time; a multiple of 8, so that a block of any width ends with a whole byte


@dataclass(frozen=True)
class Recording:
    """Codes of one recording, and what it takes to decode them.

    Attributes:
      vqvae: fingerprint of the tokenizer.
      sample_rate: Hz of the tokenizer.
      num_samples: of the recording at that rate; the codes reach to the next whole code of the top tier.
      num_codes: size of each tier's codebook, K.
      hop_lengths: {tier: samples a code} of the tiers in the file.
      codes: {tier: int16 [T]}.
    """

    vqvae: str
    sample_rate: int
    num_samples: int
    num_codes: int
    hop_lengths: dict[str, int]
    codes: dict[str, np.ndarray]

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate

    @property
    def finest(self) -> str:
        """The last tier in the file, coarse to fine."""
        return [tier for tier in config.TIERS if tier in self.codes][-1]


def bits_per_code(num_codes: int) -> int:
    """Whole bits that hold the integers below `num_codes`."""
    return math.ceil(math.log2(num_codes))


def packed_bytes(length: int, num_codes: int) -> int:
    """Bytes that a tier of `length` codes takes in the file."""
    return -(-length * bits_per_code(num_codes) // 8)


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Where to write a file that appears at `path` when the block ends, and not at all after an exception.

    Raises:
      UserError: something stands in its place; it may be a person's own.
    """
    path = pathlib.Path(path)
    if os.path.lexists(path):
        raise UserError(f"{path} exists already: remove it or choose another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write(path: str | os.PathLike[str], recording: Recording) -> None:
    """Writes the file.

    Raises:
      UserError: a code is not in [0, num_codes), or there are too few for the samples.
    """
    header = {name: getattr(recording, name) for name in ("vqvae", "sample_rate", "num_samples", "num_codes")}
    lengths = {tier: len(codes) for tier, codes in recording.codes.items()}
    header |= {"hop_lengths": recording.hop_lengths, "lengths": lengths}
    with open(path, "wb") as file:
        checksum = 0
        for part in _parts(json.dumps(header).encode(), recording):
            checksum = zlib.crc32(part, checksum)
            file.write(part)
        file.write(CHECKSUM.pack(checksum))


def _parts(header: bytes, recording: Recording) -> Iterator[bytes]:
    yield OPENING.pack(MAGIC, VERSION, len(header)) + header
    for tier, codes in recording.codes.items():
        covered = len(codes) * recording.hop_lengths[tier]
        config.require(
            covered >= recording.num_samples > 0,
            f"{len(codes)} codes of the {tier} tier are {covered} samples; the recording has {recording.num_samples}",
        )
        inside = codes.min() >= 0 and codes.max() < recording.num_codes
        config.require(inside, f"codes of the {tier} tier lie outside of [0, {recording.num_codes})")
        for start in range(0, len(codes), BLOCK_CODES):
            yield pack(codes[start : start + BLOCK_CODES], bits_per_code(recording.num_codes))


def read(path: str | os.PathLike[str]) -> Recording:
    """Reads a file that `write` wrote.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is something else, truncated or damaged, or of a version that is not known here.
    """
    if not os.path.isfile(path):
        raise NotFoundError(f"no such file of codes: {path}; pass the --out of extract_codes --file")
    content = memoryview(pathlib.Path(path).read_bytes())
    config.require(
        content[: len(MAGIC)] == MAGIC, f"{path} is not a file of codes: pass the --out of extract_codes --file"
    )
    again = "copy the file again, or encode the recording again"
    config.require(len(content) >= OPENING.size, f"{path}: truncated: {len(content)} bytes; {again}")
    _, version, header_bytes = OPENING.unpack(content[: OPENING.size])
    config.require(version == VERSION, f"{path}: format version {version}; this program reads version {VERSION}")
    start = OPENING.size + header_bytes
    config.require(start <= len(content), f"{path}: truncated or damaged: it ends within its header; {again}")
    header = _header(bytes(content[OPENING.size : start]), f"{path}: damaged: its header makes no sense; {again}")
    lengths, num_codes = header.pop("lengths"), header["num_codes"]
    stops = list(itertools.accumulate((packed_bytes(n, num_codes) for n in lengths.values()), initial=start))
    promised = stops[-1] + CHECKSUM.size
    config.require(
        len(content) == promised,
        f"{path}: truncated or damaged: it has {len(content)} bytes where its header promises {promised}; {again}",
    )
    (checksum,) = CHECKSUM.unpack(content[-CHECKSUM.size :])
    config.require(zlib.crc32(content[: -CHECKSUM.size]) == checksum, f"{path}: damaged: wrong checksum; {again}")
    codes = {
        tier: unpack(content[begin:end], length, bits_per_code(num_codes))
        for (tier, length), (begin, end) in zip(lengths.items(), itertools.pairwise(stops), strict=True)
    }
    return Recording(**header, codes=codes)


def _header(content: bytes, message: str) -> dict[str, Any]:
    """The header's fields, each of the type it must have."""
    try:
        header = json.loads(content)
        numbers = [header[name] for name in ("sample_rate", "num_samples", "num_codes")]
        numbers += [*header["hop_lengths"].values(), *header["lengths"].values()]
        tiers = list(header["lengths"])
        known = bool(tiers) and set(tiers) <= set(config.TIERS) and tiers == list(header["hop_lengths"])
        sound = known and all(type(number) is int and number > 0 for number in numbers) and header["num_codes"] < 2**15
        names = ("vqvae", "sample_rate", "num_samples", "num_codes", "hop_lengths", "lengths")
        fields = {name: header[name] for name in names}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(message) from error
    config.require(sound, message)
    return fields


def pack(codes: np.ndarray, bits: int) -> bytes:
    """Integers [T] of `bits` bits each, at most 16, one after the other."""
    digits = np.unpackbits(codes.astype(">u2").view(np.uint8)).reshape(-1, 16)
    return np.packbits(digits[:, 16 - bits :]).tobytes()


def unpack(packed: bytes | memoryview, length: int, bits: int) -> np.ndarray:
    """Inverse of `pack`: int16 [length]."""
    codes = np.empty(length, np.int16)
    block_bytes = BLOCK_CODES // 8 * bits
    for start in range(0, length, BLOCK_CODES):
        offset = start // 8 * bits
        count = min(BLOCK_CODES, length - start)
        part = np.frombuffer(packed[offset : offset + block_bytes], np.uint8)
        digits = np.zeros((count, 16), np.uint8)
        digits[:, 16 - bits :] = np.unpackbits(part, count=count * bits).reshape(count, bits)
        codes[start : start + count] = np.packbits(digits).view(">u2")
    return codes
