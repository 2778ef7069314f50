"""What a container says of itself: where its audio lies, how much there must be, and who plays."""

import dataclasses
import os
from collections.abc import Iterator
from typing import BinaryIO

from musicgen_jax.runtime.errors import UserError

COPY_AGAIN = "copy or convert the file again"


@dataclasses.dataclass(frozen=True)
class Part:
    """What a decoder is to take for a file of its own: `header`, the bytes [start, stop) of the file, then `footer`.

    Attributes:
      start: first byte.
      stop: behind the last byte.
      header: what stands before them, in place of a header that says something wrong or nothing.
      min_frames: so many frames per channel must come out; None where the decoder's word has to do.
      footer: what stands behind them, likewise.
      frames: what the container's header says; more may come out.
    """

    start: int
    stop: int
    header: bytes = b""
    min_frames: int | None = None
    footer: bytes = b""
    frames: int | None = None


@dataclasses.dataclass(frozen=True)
class Content:
    """What was found in a file.

    Attributes:
      parts: to be decoded one after the other.
      warnings: what is doubtful, though all that is there can be read; "category: detail" each.
      artist: as the file's tags say, or "".
      genre, album, title: likewise.
    """

    parts: tuple[Part, ...]
    warnings: tuple[str, ...] = ()
    artist: str = ""
    genre: str = ""
    album: str = ""
    title: str = ""


def bytes_at(file: BinaryIO, position: int, count: int) -> bytes:
    """Up to `count` bytes from `position` on; fewer at the end of the file."""
    file.seek(position)
    return file.read(count)


def truncated(what: str) -> UserError:
    """The error to raise for a file that ends too early; `what` says how that shows."""
    return UserError(f"truncated: {what}; {COPY_AGAIN}")


def damaged(what: str) -> UserError:
    """The error to raise for a file in which something is missing or changed; `what` says what."""
    return UserError(f"damaged: {what}; {COPY_AGAIN}")


def blocks_of(file: BinaryIO, start: int, stop: int, size: int, overlap: int) -> Iterator[tuple[int, bytes]]:
    """Reads the bytes [start, stop) block by block: yields (position, bytes).

    Each block is `size` bytes long and has the first `overlap` bytes of the next one behind them, so that a pattern
    which lies across a border is found.
    """
    while start < stop:
        yield start, bytes_at(file, start, min(size + overlap, stop - start))
        start += size


class PartFile:
    """A `Part` as the file-like object that soundfile reads. It never raises: `error` keeps what the system said."""

    def __init__(self, file: BinaryIO, part: Part) -> None:
        self._file, self._part, self._position = file, part, 0
        self._size = len(part.header) + part.stop - part.start + len(part.footer)
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = min(max(base + offset, 0), self._size)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, count: int) -> bytes:
        part, end = self._part, self._position + count
        taken = part.header[self._position : end]
        start = part.start + self._position + len(taken) - len(part.header)
        inside = min(end - self._position - len(taken), part.stop - start)
        if inside > 0 and self.error is None:
            try:
                taken += bytes_at(self._file, start, inside)
            except OSError as error:  # an exception in a decoder's callback would be printed and lost
                self.error = error
        behind = self._size - len(part.footer)
        if part.footer and self.error is None and self._position + len(taken) >= behind:
            taken += part.footer[self._position + len(taken) - behind : end - behind]
        self._position += len(taken)
        return taken
