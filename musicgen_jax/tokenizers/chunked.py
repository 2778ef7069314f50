"""Encoding and decoding of any length in bounded memory, equal to the whole-file result; for any kind of tokenizer.

A window reaches beyond what is kept of it by the receptive field, so that every code (or sample) that is kept has seen
what it would have seen in the whole file. The convolutions pad with zeros at every layer, so what stands behind a
file's end is not the same as nothing: no window is ever padded. The first one begins where the file begins and the last
one ends where it ends; a file shorter than the usual window is cut into windows of the next smaller size (few sizes,
each compiled once), and one that is shorter than the smallest is taken whole, at its own length.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes.layout import Layout


@dataclasses.dataclass(frozen=True)
class Margin:
    """How far a window must reach beyond what is kept of it, in samples.

    Attributes:
      before: into the past.
      after: into the future.
    """

    before: int
    after: int

    @property
    def smallest_window(self) -> int:
        """Samples of a window half of which is overlap; smaller ones would not be worth their while."""
        return 2 * (self.before + self.after)

    def whole(self, hop_length: int) -> "Margin":
        """Both sides rounded up to multiples of `hop_length`."""
        return Margin(-(-self.before // hop_length) * hop_length, -(-self.after // hop_length) * hop_length)


@dataclasses.dataclass(frozen=True)
class Span:
    """A window and the part of it that is kept; samples counted from the beginning of the file.

    Attributes:
      start: where the window begins.
      kept_from: first sample kept: where the window before it left off.
      kept_to: end of what is kept.
    """

    start: int
    kept_from: int
    kept_to: int

    def kept(self, hop_length: int = 1) -> slice:
        """What is kept, counted from the window's beginning, in samples or in frames of `hop_length` samples."""
        return slice((self.kept_from - self.start) // hop_length, (self.kept_to - self.start) // hop_length)


class Window(NamedTuple):
    """A window's audio, float32 [S], and where it lies."""

    audio: np.ndarray
    span: Span


def window_samples(layout: Layout, seconds: float, margin: Margin) -> int:
    """Length of a window: about `seconds`, whole frames of the coarsest stream, no less than the smallest.

    Raises:
      UserError: `seconds` is infinite or not a number.
    """
    config.require(bool(np.isfinite(seconds)), f"`window_seconds`={seconds}: must be finite")
    return layout.padded(max(round(seconds * layout.sample_rate), margin.smallest_window, 1))


def fitting_window(length: int, window: int, margin: Margin, hop_length: int) -> int:
    """Samples of the windows that a file of `length` samples is cut into.

    That is `window`, if the file is as long; else the smallest window doubled as often as the file allows, so that
    files of all lengths need few programs; and the file itself where it is shorter than the smallest window.
    """
    size = max(margin.smallest_window, hop_length)  # a tokenizer whose frames stand alone has no margin
    if length >= window or length < size:
        return min(length, window)
    while 2 * size <= length:
        size *= 2
    return size


def spans(length: int, window: int, margin: Margin) -> Iterator[Span]:
    """Windows whose kept parts follow each other from 0 to `length`; the last one is moved back to end with it.

    Args:
      length: samples, no fewer than `window`.
      window: samples; more than both margins, or `length`.
      margin: what is not kept at a window's ends, unless the file itself begins or ends there.
    """
    start = done = 0
    while done < length:
        start = min(start, length - window)
        stop = length if start + window == length else start + window - margin.after
        yield Span(start, done, stop)
        done, start = stop, stop - margin.before


@dataclasses.dataclass(frozen=True)
class Encoder:
    """What turns windows of audio into codes, and how a recording is cut into windows for it.

    Attributes:
      layout: the streams of the codes.
      margin: samples before and after a frame that decide its codes.
      window: samples of a window, from `window_samples`.
      run: waveforms float32 [B, S] -> {stream: codes [B, T, Q]} on a device; jitted, compiled for each shape.
    """

    layout: Layout
    margin: Margin
    window: int
    run: Callable[[np.ndarray], dict[str, jax.Array]]

    def windows(self, blocks: Iterator[np.ndarray]) -> Iterator["Window"]:
        """The windows of a waveform that arrives in blocks, float32 [S] each, in order.

        The waveform's end is padded with zeros to a whole frame of the coarsest stream, so that all streams end
        together.
        """
        return _windows(blocks, self.layout.hop_length, self.margin, self.window)

    def spans(self, num_samples: int) -> Iterator[Span]:
        """Those of the windows of a waveform of so many samples, known beforehand."""
        return spans(self.layout.padded(num_samples), self.window_of(num_samples), self.margin)

    def window_of(self, num_samples: int) -> int:
        """Samples of the windows that a waveform of so many samples is cut into."""
        return fitting_window(self.layout.padded(num_samples), self.window, self.margin, self.layout.hop_length)


def _windows(blocks: Iterator[np.ndarray], hop_length: int, margin: Margin, window: int) -> Iterator["Window"]:
    """The `spans` of a waveform that arrives in blocks, each with its window's audio.

    The length of the waveform shows only at its end, where it is padded with zeros to a multiple of `hop_length`, the
    coarsest stream's.
    """
    buffer, origin = np.zeros(0, np.float32), 0  # buffer[0] is sample `origin` of the waveform
    start = done = 0  # where the next window begins; samples whose codes are kept already
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        # A window is taken only when more follows: the last one is moved back so as to end with the waveform, which
        # takes it back into the window before it at most; so that one is kept.
        while origin + len(buffer) > start + window:
            buffer, origin = buffer[start - origin :], start
            stop = start + window - margin.after
            yield Window(buffer[:window], Span(start, done, stop))
            done, start = stop, stop - margin.before
    length = -(-(origin + len(buffer)) // hop_length) * hop_length
    buffer = np.pad(buffer, (0, length - origin - len(buffer)))
    if done:
        yield Window(buffer[-window:], Span(length - window, done, length))
        return
    size = fitting_window(length, window, margin, hop_length)
    for span in spans(length, size, margin):
        yield Window(buffer[span.start : span.start + size], span)


def decode(
    decode_window: Callable[[np.ndarray, int], jax.Array],
    codes: np.ndarray,
    hop_length: int,
    margin: Margin,
    window: int,
) -> Iterator[np.ndarray]:
    """Waveform of one stream's codes int [T, Q'], Q' <= Q: consecutive float32 [S], T * hop_length samples in all.

    Args:
      decode_window: jitted (codes [1, N, Q'] int32, index of the first of them in the track) -> waveform
        [1, N * hop_length]. The index is never negative.
      codes: of one track.
      hop_length: samples of a frame of the stream.
      margin: samples before and after a sample with codes that it depends on; whole frames.
      window: samples of a window, from `window_samples`.
    """
    size = fitting_window(len(codes) * hop_length, window, margin, hop_length)
    for span in spans(len(codes) * hop_length, size, margin):
        first = span.start // hop_length
        part = codes[first : first + size // hop_length].astype(np.int32)
        yield np.asarray(decode_window(part[None], first))[0, span.kept()]
