"""What a tokenizer makes of audio: streams of codes, coarse to fine. All that others need to know of a tokenizer."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable
from typing import Any

from musicgen_jax.config import require
from musicgen_jax.runtime import records

MAX_NUM_CODES = 2**15 - 1  # codes are stored as int16
MAX_SAMPLE_RATE = 768_000  # Hz


@dataclasses.dataclass(frozen=True)
class Stream:
    """One sequence of codes, integers [T, Q]: T frames of Q codes each.

    Attributes:
      name: of the stream, and of its prior.
      hop_length: samples of audio a frame.
      num_codebooks: Q, codes a frame; each is of a codebook of its own.
      num_codes: K, entries of each codebook.
      above: name of the coarser stream that is sampled before this one and that its prior is told; "" for none.
    """

    name: str
    hop_length: int
    num_codebooks: int
    num_codes: int
    above: str = ""

    def __str__(self) -> str:
        """In words, for messages: "middle below top (1 code of 2048 every 32 samples)"."""
        name = f"{self.name} below {self.above}" if self.above else self.name
        codes = "1 code" if self.num_codebooks == 1 else f"{self.num_codebooks} codes"
        return f"{name} ({codes} of {self.num_codes} every {self.hop_length} samples)"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The streams of codes that one tokenizer makes, and how long the audio of a frame is.

    Attributes:
      sample_rate: Hz of the audio.
      channels: of the audio.
      streams: coarse to fine, the order in which music is sampled. The hop of each is a multiple of the next one's.
      fingerprint: hexadecimal digest of the tokenizer's weights.
    """

    sample_rate: int
    channels: int
    streams: tuple[Stream, ...]
    fingerprint: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the streams, coarse to fine."""
        return tuple(self._by_name)

    @property
    def hop_lengths(self) -> dict[str, int]:
        """Stream -> samples of audio of each of its frames."""
        return {stream.name: stream.hop_length for stream in self.streams}

    @property
    def hop_length(self) -> int:
        """Samples of the longest frame: recordings are padded to a multiple of it, so that all streams end together."""
        return self.streams[0].hop_length

    @functools.cached_property
    def _by_name(self) -> dict[str, Stream]:
        return {stream.name: stream for stream in self.streams}

    def stream(self, name: str) -> Stream:
        """The stream of that name.

        Raises:
          UserError: there is none; the message lists those there are.
        """
        near = records.nearest(name, self._by_name)
        require(name in self._by_name, f"{name!r} is no stream of this tokenizer{near}; it has {', '.join(self.names)}")
        return self._by_name[name]

    def rank(self, name: str) -> int:
        """Place of a stream among all, coarse to fine, from 0 on; raises as `stream`."""
        return self.streams.index(self.stream(name))

    def upsampling(self, name: str) -> int:
        """Frames of a stream for one of the stream above it; 0 where there is none above."""
        stream = self.stream(name)
        return self.stream(stream.above).hop_length // stream.hop_length if stream.above else 0

    def frames_per_second(self, name: str) -> float:
        """Frames of a stream in a second of audio; raises as `stream`."""
        return self.sample_rate / self.stream(name).hop_length

    def bits_per_second(self, name: str) -> float:
        """Bits that a stream's codes take for a second of audio, log2(K) each; raises as `stream`."""
        stream = self.stream(name)
        return self.frames_per_second(name) * stream.num_codebooks * math.log2(stream.num_codes)

    def padded(self, num_samples: int) -> int:
        """Samples that the codes of a recording of `num_samples` reach over: whole frames of the coarsest stream."""
        return -(-num_samples // self.hop_length) * self.hop_length

    def only(self, names: Iterable[str]) -> "Layout":
        """The layout with these of its streams; one whose stream above is left out has none."""
        chosen = {*names, ""}
        kept = [one for one in self.streams if one.name in chosen]
        kept = [one if one.above in chosen else dataclasses.replace(one, above="") for one in kept]
        return dataclasses.replace(self, streams=tuple(kept))

    def in_words(self) -> dict[str, str]:
        """All that it says, by name, for messages that compare two."""
        return {
            "tokenizer": self.fingerprint,
            "sample rate": f"{self.sample_rate} Hz",
            "channels": str(self.channels),
            "streams": ", ".join(map(str, self.streams)),
        }

    def to_dict(self) -> dict[str, Any]:
        """The same as values that JSON has; `from_dict` is the inverse."""
        return dataclasses.asdict(self) | {"streams": [dataclasses.asdict(stream) for stream in self.streams]}

    @classmethod
    def from_dict(cls, values: Any, where: str) -> "Layout":
        """Inverse of `to_dict`, which also takes the four fields `VERSION_1`.

        Args:
          values: from JSON.
          where: it was found; messages begin with it.

        Raises:
          UserError: it is no layout, or contradicts itself.
        """
        if isinstance(values, dict) and "hop_lengths" in values:
            return _checked(_of_version_1(records.parse(_Version1, values, where)), where)
        return _checked(records.parse(cls, values, where), where)


@dataclasses.dataclass(frozen=True)
class _Version1:
    """How the codes of hierarchical tokenizers were described before there were layouts: a codebook a stream."""

    vqvae: str
    sample_rate: int
    num_codes: int
    hop_lengths: dict[str, int]


VERSION_1 = tuple(field.name for field in dataclasses.fields(_Version1))


def _of_version_1(facts: _Version1) -> Layout:
    hops = sorted(facts.hop_lengths.items(), key=lambda item: -item[1])
    above = ["", *(name for name, _ in hops)]
    streams = [Stream(name, hop, 1, facts.num_codes, above[index]) for index, (name, hop) in enumerate(hops)]
    return Layout(facts.sample_rate, 1, tuple(streams), facts.vqvae)


def _checked(layout: Layout, where: str) -> Layout:
    rate = layout.sample_rate
    require(0 < rate <= MAX_SAMPLE_RATE, f"{where}.sample_rate is {rate} and must be in (0, {MAX_SAMPLE_RATE}]")
    require(layout.channels == 1, f"{where}.channels is {layout.channels}: tokenizers here are of mono audio, 1")
    hops = [stream.hop_length for stream in layout.streams]
    named = len(layout.names) == len(hops) > 0 and all(name.isidentifier() for name in layout.names)
    require(named, f"{where}: its streams are {[one.name for one in layout.streams]}: they need names of their own")
    falling = min(hops) > 0 and all(above > below and above % below == 0 for above, below in itertools.pairwise(hops))
    require(falling, f"{where}.hop_lengths is {layout.hop_lengths}: each must divide that of the tier above")
    for index, stream in enumerate(layout.streams):
        coarser = ("", *layout.names[:index])
        require(stream.above in coarser, f"{where}: above {stream.name} is {stream.above}, which is no coarser stream")
        inside = 1 < stream.num_codes <= MAX_NUM_CODES
        require(inside, f"{where}.num_codes is {stream.num_codes} and must be in [2, {MAX_NUM_CODES}]")
        inside = 1 <= stream.num_codebooks <= 1024
        require(inside, f"{where}.num_codebooks is {stream.num_codebooks} and must be in [1, 1024]")
    return layout
