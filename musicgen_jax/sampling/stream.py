"""Streaming: blocks of audio come out as soon as the codes that they depend on are sampled."""

from collections.abc import Iterator

import numpy as np

from musicgen_jax.sampling.hierarchy import Hierarchy
from musicgen_jax.tokenizers.tokenizer import Tokenizer


class CodesOnDemand:
    """One sample's codes of a tier as the decoder reads them: len() and slices; what is read is sampled first."""

    def __init__(self, hierarchy: Hierarchy, tier: str, row: int):
        self._hierarchy, self._tier, self._row = hierarchy, tier, row

    def __len__(self) -> int:
        return self._hierarchy.codes[self._tier].shape[1]

    def __getitem__(self, part: slice) -> np.ndarray:
        self._hierarchy.require(self._tier, part.indices(len(self))[1])
        return self._hierarchy.codes[self._tier][self._row, part]


def stream(tokenizer: Tokenizer, hierarchy: Hierarchy, window_seconds: float = 0.5) -> Iterator[np.ndarray]:
    """Consecutive blocks of all samples, float32 [N, S], each as soon as the codes that it depends on are there.

    The tiers advance together: a window of the finest, what it needs of the one above, and so on. Joined, the blocks
    are the audio that decoding the complete codes gives.

    Args:
      tokenizer: of the codes.
      hierarchy: fresh or begun.
      window_seconds: audio decoded at a time, of which the decoder's margins are not kept; at least twice these.
    """
    tier = hierarchy.finest
    rows = range(len(hierarchy.codes[tier]))
    decoders = [tokenizer.decode_blocks(CodesOnDemand(hierarchy, tier, row), tier, window_seconds) for row in rows]
    for blocks in zip(*decoders, strict=True):
        yield np.stack(blocks)
