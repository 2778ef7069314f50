"""What every tokenizer promises, whatever it is made of: all that the rest of the package knows of one.

A new tokenizer inherits from `Tokenizer` and is loaded by its entry of `kinds.KINDS`; nobody outside of `tokenizers/`
asks which one it is. `chunked` helps those that are convolutions to keep the promise of bounded memory.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from musicgen_jax.codes.layout import Layout
from musicgen_jax.tokenizers import batched
from musicgen_jax.tokenizers.chunked import Encoder, Margin


class Tokenizer(Protocol):
    """A trained tokenizer on one device: audio of any length <-> codes, in memory that does not grow with the length.

    Attributes:
      layout: its streams of codes, and the digest of its weights by which codes and priors remember it.
    """

    layout: Layout

    def encoder(self, window_seconds: float = 10.0) -> Encoder:
        """What encodes windows of about `window_seconds`, as `encode` and `extraction` cut recordings into them.

        Raises:
          UserError: `window_seconds` is not finite.
        """
        ...

    def latent_encoder(self, stream: str, window_seconds: float = 10.0) -> Encoder:
        """As `encoder`, but it makes what the quantizer of one stream would be given: {stream: float32 [B, T, W]}."""
        ...

    def decode_blocks(self, codes: np.ndarray, stream: str, window_seconds: float = 10.0) -> Iterator[np.ndarray]:
        """The audio of one stream's codes, window by window.

        Args:
          codes: integers [T, Q'], of the stream's first Q' <= Q codebooks; or an object with `len` and slices of frames
            that makes them when it is asked.
          stream: name of the stream.
          window_seconds: about how much audio is decoded at a time.

        Returns:
          consecutive blocks, float32 [S]; together T * hop_length samples, those that decoding all codes at once gives.

        Raises:
          UserError: `window_seconds` is not finite, or T is no number of frames that the tokenizer can decode.
        """
        ...

    def codebooks(self) -> dict[str, np.ndarray]:
        """What each code stands for, as vectors: {stream: float32 [Q, K, W]}. Priors start their embeddings from it."""
        ...

    def margin(self, stream: str) -> Margin:
        """How many samples before and after a sample have codes that it depends on, when the stream is decoded.

        A stretch of the codes that is decoded alone is wrong in so many samples at its beginning and at its end, and
        right in between.
        """
        ...

    def encode(self, blocks: Iterator[np.ndarray], window_seconds: float = 10.0) -> dict[str, np.ndarray]:
        """The codes of a recording, those that encoding it at once would give.

        Args:
          blocks: the recording's samples in order, mono float32 [S] at `layout.sample_rate`, cut anywhere.
          window_seconds: about how much audio is encoded at a time.

        Returns:
          {stream: int16 [T, Q]}; the recording is padded with zeros to T frames, `layout.padded` samples.

        Raises:
          UserError: `window_seconds` is not finite.
        """
        encoder = self.encoder(window_seconds)
        return next(batched.encode(encoder, [encoder.windows(blocks)], batch_size=1))

    def latents(self, audio: np.ndarray, stream: str, window_seconds: float = 10.0) -> np.ndarray:
        """What the quantizer of a stream would be given of a waveform float32 [S]: float32 [T, W], T as of `encode`."""
        encoder, hop_length = self.latent_encoder(stream, window_seconds), self.layout.stream(stream).hop_length
        found = [
            np.asarray(encoder.run(window[None])[stream])[0, span.kept(hop_length)]
            for window, span in encoder.windows(iter([audio]))
        ]
        return np.concatenate(found)

    @property
    def fingerprint(self) -> str:
        """The layout's: hexadecimal digest of the weights."""
        return self.layout.fingerprint

    def decode(self, codes: np.ndarray, stream: str, window_seconds: float = 10.0) -> np.ndarray:
        """The blocks of `decode_blocks` joined: float32 [T * hop_length]."""
        return np.concatenate([np.zeros(0, np.float32), *self.decode_blocks(codes, stream, window_seconds)])
