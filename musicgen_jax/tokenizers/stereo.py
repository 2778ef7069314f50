"""A tokenizer of one channel as one of two: the codebooks of left and right by turns (Copet et al. 2023, MusicGen)."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from musicgen_jax.tokenizers.chunked import Encoder, Margin
from musicgen_jax.tokenizers.tokenizer import Tokenizer

LEFT, RIGHT = 0, 1


class StereoTokenizer(Tokenizer):
    """Codes [T, 2 Q]: codebook 2 q is the left channel's q, 2 q + 1 the right one's. What is encoded is mono, and in
    both channels."""

    def __init__(self, mono: Tokenizer):
        streams = tuple(dataclasses.replace(one, num_codebooks=2 * one.num_codebooks) for one in mono.layout.streams)
        self.layout = dataclasses.replace(mono.layout, channels=2, streams=streams)
        self._mono = mono

    def encoder(self, window_seconds: float = 10.0) -> Encoder:
        """That of the one channel, which makes its codes alone; `encode` doubles them."""
        return self._mono.encoder(window_seconds)

    def latent_encoder(self, stream: str, window_seconds: float = 10.0) -> Encoder:
        return self._mono.latent_encoder(stream, window_seconds)

    def encode(self, blocks: Iterator[np.ndarray], window_seconds: float = 10.0) -> dict[str, np.ndarray]:
        codes = self._mono.encode(blocks, window_seconds)
        return {name: np.repeat(one, 2, axis=1) for name, one in codes.items()}

    def decode_blocks(self, codes: Any, stream: str, window_seconds: float = 10.0) -> Iterator[np.ndarray]:
        """As `Tokenizer.decode_blocks`, but the blocks are float32 [S, 2], left and right."""
        sides = [self._mono.decode_blocks(_Channel(codes, side), stream, window_seconds) for side in (LEFT, RIGHT)]
        for left, right in zip(*sides, strict=True):
            yield np.stack([left, right], axis=1)

    def decode(self, codes: np.ndarray, stream: str, window_seconds: float = 10.0) -> np.ndarray:
        """The blocks joined: float32 [T * hop_length, 2]."""
        return np.concatenate([np.zeros((0, 2), np.float32), *self.decode_blocks(codes, stream, window_seconds)])

    def codebooks(self) -> dict[str, np.ndarray]:
        return {name: np.repeat(one, 2, axis=0) for name, one in self._mono.codebooks().items()}

    def margin(self, stream: str) -> Margin:
        return self._mono.margin(stream)


class _Channel:
    """The codes of one channel as a decoder reads them: len() and slices."""

    def __init__(self, codes: Any, side: int):
        self._codes, self._side = codes, side

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, part: slice) -> np.ndarray:
        return self._codes[part][:, self._side :: 2]
