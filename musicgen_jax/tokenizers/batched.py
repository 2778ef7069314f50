"""Windows of many recordings encoded together, a batch a step: the codes that each window has by itself."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from musicgen_jax.codes.layout import Layout
from musicgen_jax.tokenizers.chunked import Encoder, Window

Codes = dict[str, np.ndarray]
IN_FLIGHT = 2  # batches: while the device works on one, the host makes the next
MAX_WAITING = 2  # recordings, in parts of a batch, that may wait for the first of them


def encode(encoder: Encoder, recordings: Iterable[Iterator[Window]], batch_size: int) -> Iterator[Codes]:
    """Codes of recordings, in their order.

    Windows of a length are encoded `batch_size` at a time, whosever they are, and a batch that is not full is filled up
    with silence: so each length is compiled once, and a window's codes do not depend on what it is encoded with.

    Args:
      encoder: of the tokenizer.
      recordings: the windows of each, in order; asked for one after the other, each to its end. Windows that do not
        follow each other are well: what is kept of them is joined.
      batch_size: windows a step; memory grows with it.

    Yields:
      {stream: int16 [T, Q]} of a recording. Meanwhile the codes of no more than some batches of recordings are kept.
    """
    batches, waiting = _Batches(encoder, batch_size), collections.deque()
    for windows in recordings:
        recording = _Recording(encoder.layout)
        waiting.append(recording)
        for window in windows:
            batches.add(recording, window)
        recording.complete = True
        if len(waiting) > MAX_WAITING * batch_size:  # windows of its length are rare here
            batches.finish(waiting[0])
        while waiting and waiting[0].done:
            yield waiting.popleft().codes()
    batches.finish_all()
    yield from (recording.codes() for recording in waiting)


class _Recording:
    """The codes of a recording as they come, and how many windows are still without."""

    def __init__(self, layout: Layout) -> None:
        self._parts = {one.name: [np.zeros((0, one.num_codebooks), np.int16)] for one in layout.streams}
        self.missing, self.complete = 0, False

    @property
    def done(self) -> bool:
        return self.complete and not self.missing

    def add(self, codes: Codes) -> None:
        for name, part in codes.items():
            self._parts[name].append(part)
        self.missing -= 1

    def codes(self) -> Codes:
        return {name: np.concatenate(parts) for name, parts in self._parts.items()}


@dataclasses.dataclass
class _Batch:
    """Windows of a length, each with the recording that it is of; and what the device makes of them, once it does."""

    rows: list[tuple[_Recording, Window]] = dataclasses.field(default_factory=list)
    result: dict[str, Any] = dataclasses.field(default_factory=dict)


class _Batches:
    """Batches that fill up, one for each length of window, and those that are being encoded."""

    def __init__(self, encoder: Encoder, batch_size: int) -> None:
        self._encoder, self._batch_size = encoder, batch_size
        self._filling: dict[int, _Batch] = collections.defaultdict(_Batch)
        self._in_flight: collections.deque[_Batch] = collections.deque()

    def add(self, recording: _Recording, window: Window) -> None:
        size = len(window.audio)
        batch = self._filling[size]
        batch.rows.append((recording, window))
        recording.missing += 1
        if len(batch.rows) == self._batch_size:
            self._start(size)

    def finish(self, recording: _Recording) -> None:
        """Encodes all that a recording waits for."""
        for size, batch in list(self._filling.items()):
            if any(owner is recording for owner, _ in batch.rows):
                self._start(size)
        while recording.missing:
            self._collect()

    def finish_all(self) -> None:
        for size in list(self._filling):
            self._start(size)
        while self._in_flight:
            self._collect()

    def _start(self, size: int) -> None:
        batch = self._filling.pop(size)
        audio = np.zeros((self._batch_size, size), np.float32)
        for row, (_, window) in enumerate(batch.rows):
            audio[row] = window.audio
        batch.result = self._encoder.run(audio)
        self._in_flight.append(batch)
        if len(self._in_flight) == IN_FLIGHT:
            self._collect()

    def _collect(self) -> None:
        """Hands the codes of the oldest batch to the recordings; waits for the device if need be."""
        batch, hops = self._in_flight.popleft(), self._encoder.layout.hop_lengths
        found = {name: np.asarray(codes) for name, codes in batch.result.items()}
        for row, (recording, window) in enumerate(batch.rows):
            kept = {name: codes[row, window.span.kept(hops[name])] for name, codes in found.items()}
            recording.add({name: codes.astype(np.int16) for name, codes in kept.items()})
