"""One recording as codes in one file: what a codec's encoder writes and its decoder reads.

    offset            content
    0                 7 bytes   "MGCODES"
    7                 1 byte    version of the format: 2
    8                 4 bytes   N, length of the header; unsigned, little-endian
    12                N bytes   header, JSON in UTF-8: "layout", "num_samples", and "lengths", the frames of each stream
    12 + N            codes, stream after stream, coarse to fine, frame by frame, each stream from a whole byte on:
                      integers of ceil(log2(num_codes)) bits, most significant bit first, the last byte filled up with
                      zeros
    file size - 4     4 bytes   CRC-32 (zlib) of all before; unsigned, little-endian

Packed bits come within a byte a tier of codes x bits; npz would store whole bytes and a zip directory, and Deflate
finds little in codes that are used about equally often. A person reads the header with `head -c 600`. Version 1, which
is read too, has the fields `layout.VERSION_1` instead of a layout, and one codebook a stream.
"""

import contextlib
import dataclasses
import itertools
import json
import math
import os
import pathlib
import reprlib
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.codes.layout import VERSION_1, Layout
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.errors import NotFoundError, UserError

MAGIC = b"MGCODES"
VERSION, OLDER_VERSION = 2, 1
OPENING, CHECKSUM = struct.Struct("<7sBI"), struct.Struct("<I")
BLOCK_CODES = 1 << 16  # packed at a time; a multiple of 8, so that a block of any width ends with a whole byte
SAMPLE_RATES = 2_000, 768_000  # Hz, the least and the most
MAX_HEADER_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True)
class Recording:
    """Codes of one recording, and what it takes to decode them.

    Attributes:
      layout: the tokenizer's, with those of its streams that the file has codes of.
      num_samples: length of the recording at the tokenizer's sample rate. The codes reach a little further, up to
        `layout.padded` of the tokenizer's whole layout: what is decoded is cut to `num_samples`.
      codes: {stream: int16 [T, Q]}, coarse to fine.
    """

    layout: Layout
    num_samples: int
    codes: dict[str, np.ndarray]

    @property
    def seconds(self) -> float:
        """Length of the recording, without the zeros that filled its last frame."""
        return self.num_samples / self.layout.sample_rate

    @property
    def covered(self) -> int:
        """Samples of audio that the codes are of: those of the recording and the zeros that filled its last frame."""
        return len(self.codes[self.finest]) * self.layout.stream(self.finest).hop_length

    @property
    def finest(self) -> str:
        """Name of the finest stream in the file, which sounds best."""
        return self.layout.names[-1]


def bits_per_code(num_codes: int) -> int:
    """Bits of a code in the file: the fewest that tell `num_codes` integers apart."""
    return math.ceil(math.log2(num_codes))


def packed_bytes(length: int, num_codes: int) -> int:
    """Bytes that `length` codes of a codebook of `num_codes` take in the file, the last one filled up."""
    return -(-length * bits_per_code(num_codes) // 8)


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Where to write a file that appears at `path` when the block ends, and not at all after an exception.

    Raises:
      UserError: something stands in its place; it may be a person's own.
      OSError: the system does not let this user write there; before the block begins.
    """
    path = pathlib.Path(path)
    if os.path.lexists(path):
        raise UserError(f"{path} exists already: remove it or choose another `out`")
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replaced(path) as file:
        yield pathlib.Path(file.name)


def write(path: str | os.PathLike[str], recording: Recording) -> None:
    """Writes a recording's codes in the format above, in blocks: memory does not grow with their number.

    Args:
      path: of the file; `new_file` yields one that appears when it is whole.
      recording: what to write.

    Raises:
      UserError: a code is not in [0, num_codes), or there are too few for the samples.
    """
    lengths = {name: len(codes) for name, codes in recording.codes.items()}
    header = {"layout": recording.layout.to_dict(), "num_samples": recording.num_samples, "lengths": lengths}
    with open(path, "wb") as file:
        checksum = 0
        for part in _parts(json.dumps(header).encode(), recording):
            checksum = zlib.crc32(part, checksum)
            file.write(part)
        file.write(CHECKSUM.pack(checksum))


def _parts(header: bytes, recording: Recording) -> Iterator[bytes]:
    yield OPENING.pack(MAGIC, VERSION, len(header)) + header
    for stream in recording.layout.streams:
        codes = recording.codes[stream.name]
        covered = len(codes) * stream.hop_length
        config.require(
            covered >= recording.num_samples > 0,
            f"{len(codes)} codes of the {stream.name} tier are {covered} samples; the recording has "
            f"{recording.num_samples}",
        )
        config.require(
            codes.shape[1] == stream.num_codebooks, f"codes of shape {codes.shape} are not those of {stream}"
        )
        inside = codes.min() >= 0 and codes.max() < stream.num_codes
        config.require(inside, f"codes of the {stream.name} tier lie outside of [0, {stream.num_codes})")
        flat = codes.reshape(-1)
        for start in range(0, len(flat), BLOCK_CODES):
            yield pack(flat[start : start + BLOCK_CODES], bits_per_code(stream.num_codes))


def read(path: str | os.PathLike[str]) -> Recording:
    """Reads a file that `write` wrote.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is something else, truncated or damaged, of a version that is not known here, or its header
        contradicts itself or the bytes that follow.
    """
    if not os.path.isfile(path):
        raise NotFoundError(f"no such file of codes: {path}; pass a file that extract_codes wrote")
    content = memoryview(pathlib.Path(path).read_bytes())
    config.require(
        content[: len(MAGIC)] == MAGIC, f"{path} is not a file of codes: pass a file that extract_codes wrote"
    )
    again = "copy the file again, or encode the recording again"
    config.require(len(content) >= OPENING.size, f"{path}: truncated: {len(content)} bytes; {again}")
    _, version, header_bytes = OPENING.unpack(content[: OPENING.size])
    known = version in (VERSION, OLDER_VERSION)
    config.require(known, f"{path}: format version {version}; this program reads versions 1 to {VERSION}")
    start = OPENING.size + header_bytes
    config.require(start <= len(content), f"{path}: truncated or damaged: it ends within its header; {again}")
    config.require(header_bytes <= MAX_HEADER_BYTES, f"{path}: damaged: its header has {header_bytes} bytes; {again}")
    where = f"{path}: damaged: header"
    header = files.parse_json(bytes(content[OPENING.size : start]), where)
    layout, num_samples, lengths = _parsed(header, version, where)
    counts = {one.name: lengths[one.name] * one.num_codebooks for one in layout.streams}
    parts = [packed_bytes(counts[one.name], one.num_codes) for one in layout.streams]
    stops = list(itertools.accumulate(parts, initial=start))
    promised = stops[-1] + CHECKSUM.size
    config.require(
        len(content) == promised,
        f"{path}: truncated or damaged: it has {len(content)} bytes where its header promises {promised}; {again}",
    )
    (checksum,) = CHECKSUM.unpack(content[-CHECKSUM.size :])
    config.require(zlib.crc32(content[: -CHECKSUM.size]) == checksum, f"{path}: damaged: wrong checksum; {again}")
    codes = {}
    for one, (begin, end) in zip(layout.streams, itertools.pairwise(stops), strict=True):
        flat = unpack(content[begin:end], counts[one.name], bits_per_code(one.num_codes))
        inside = flat.min() >= 0 and flat.max() < one.num_codes
        config.require(inside, f"{path}: damaged: codes of the {one.name} tier lie outside of [0, {one.num_codes})")
        codes[one.name] = flat.reshape(-1, one.num_codebooks)
    return Recording(layout, num_samples, codes)


def require_fit(recording: Recording, layout: Layout, path: str | os.PathLike[str]) -> None:
    """Raises UserError where a file's header tells something else than the tokenizer that it names would have written.

    Args:
      recording: what `read` read.
      layout: of that tokenizer.
      path: of the file, for the message.
    """
    there, known = recording.layout, layout.only(recording.codes)
    # A file may have codes of the first codebooks alone, and of some of the streams, the one above left out.
    most = [min(one.num_codebooks, there.stream(one.name).num_codebooks) for one in known.streams]
    possible = [dataclasses.replace(one, num_codebooks=q) for one, q in zip(known.streams, most, strict=True)]
    streams, wanted_streams = (
        ", ".join(str(dataclasses.replace(one, above="")) for one in some) for some in (there.streams, possible)
    )
    for name, found, wanted in (
        ("sample rate", f"{there.sample_rate} Hz", f"{known.sample_rate} Hz"),
        ("streams", streams, wanted_streams),
        ("samples that the codes cover", recording.covered, layout.padded(recording.num_samples)),
    ):
        config.require(
            found == wanted,
            f"{path}: damaged: {name}: {found}, and the tokenizer that it names makes {wanted}; encode the recording "
            "again",
        )


def _parsed(header: Any, version: int, where: str) -> tuple[Layout, int, dict[str, int]]:
    """(layout, samples of the recording, frames of each stream), in bounds before anything is made of them.

    Raises:
      UserError: the header contradicts itself.
    """
    config.require(isinstance(header, dict), f"{where} is {reprlib.repr(header)} and must be an object with fields")
    described = VERSION_1 if version == OLDER_VERSION else ("layout",)
    fields = (*described, "num_samples", "lengths")
    has, needs = (", ".join(map(str, names)) for names in (header, fields))
    config.require(set(header) == set(fields), f"{where} has the fields {has}, and not {needs}")
    if version == OLDER_VERSION:
        layout = Layout.from_dict({name: header[name] for name in described}, where)
    else:
        layout = Layout.from_dict(header["layout"], f"{where}.layout")
    least, most = SAMPLE_RATES
    rate = layout.sample_rate
    config.require(least <= rate <= most, f"{where}.sample_rate is {rate} and must be in [{least}, {most}] Hz")
    num_samples = records.check(int, header["num_samples"], f"{where}.num_samples")
    lengths = records.check(dict[str, int], header["lengths"], f"{where}.lengths")
    sound = tuple(lengths) == layout.names and min(lengths.values()) > 0
    config.require(sound, f"{where}.lengths is {lengths} and must have positive numbers of tiers, coarse to fine")
    covered = {name: length * layout.stream(name).hop_length for name, length in lengths.items()}
    config.require(len(set(covered.values())) == 1, f"{where}: its tiers differ in length: {covered} samples")
    samples = next(iter(covered.values()))
    inside = 0 < num_samples <= samples
    rule = f"must be in (0, {samples}], no longer than its codes"
    config.require(inside, f"{where}.num_samples is {num_samples} and {rule}")
    return layout, num_samples, lengths


def pack(codes: np.ndarray, bits: int) -> bytes:
    """Integers [T] as `bits` bits each, at most 16, one after the other, the most significant bit first."""
    digits = np.unpackbits(codes.astype(">u2").view(np.uint8)).reshape(-1, 16)
    return np.packbits(digits[:, 16 - bits :]).tobytes()


def unpack(packed: bytes | memoryview, length: int, bits: int) -> np.ndarray:
    """Inverse of `pack`: the first `length` integers of `bits` bits each, int16 [length]."""
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
