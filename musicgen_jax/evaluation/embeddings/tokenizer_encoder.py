"""A tokenizer's own encoder as an embedding: needs no other weights, and hears what it was trained to keep."""

import numpy as np

from musicgen_jax.evaluation.embeddings import embedding
from musicgen_jax.tokenizers.tokenizer import Tokenizer


class TokenizerEncoder(embedding.Embedding):
    """The latents of a tokenizer's coarsest stream, before they are quantized; a frame each hop of the stream.

    Values compare only where the same tokenizer was used. Frames beside each other know nearly the same audio: they are
    many, and say less than as many frames of seconds. The encoder sees silence beyond the ends of a clip.

    Args:
      tokenizer: of any kind.
    """

    name = "tokenizer-encoder"

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer, layout = tokenizer, tokenizer.layout
        self._stream = max(layout.streams, key=lambda stream: stream.hop_length)
        self.version = embedding.version_of(f"{self.name} 1: {layout.fingerprint} {self._stream.name}")
        self.sample_rate = layout.sample_rate
        self.window_seconds = self.hop_seconds = self._stream.hop_length / layout.sample_rate
        self.dimensions = tokenizer.codebooks()[self._stream.name].shape[-1]

    def embed(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        waveform = embedding.resampled(embedding.checked(self, audio, sample_rate), sample_rate, self.sample_rate)
        # What is left at the end is no whole frame: the encoder fills it up with silence.
        return self._tokenizer.latents(waveform, self._stream.name)[: len(waveform) // self._stream.hop_length]
