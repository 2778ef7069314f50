"""A trained EnCodec of mono audio as a tokenizer of one stream, `codes`."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes.layout import Layout
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers import chunked
from musicgen_jax.tokenizers.codec import codec_tokenizer
from musicgen_jax.tokenizers.encodec import encodec, margins


class EncodecTokenizer(codec_tokenizer.CodecTokenizer):
    """Decoding in windows is decoding at once: the LSTM's state goes from each window to the next.

    Encoding in windows is so up to the memory of the encoder's LSTM: `margins.MEMORY_SECONDS` before what is kept of a
    window, its state is zero, as at the beginning of a recording. One no longer than a window is encoded at once.
    """

    def __init__(self, settings: config.EncodecConfig, params: modules.Tree, buffers: modules.Tree):
        require_stream(settings)
        super().__init__(settings, encodec.Encodec, params, buffers)

    def encoder_margin(self) -> chunked.Margin:
        return margins.of_encoder(self.config)

    def decoder_margin(self) -> chunked.Margin:
        return margins.of_decoder(self.config)

    def decode_blocks(self, codes: np.ndarray, stream: str, window_seconds: float = 10.0) -> Iterator[np.ndarray]:
        hop, margin = self.layout.stream(stream).hop_length, margins.of_rendering(self.config)
        window = chunked.window_samples(self.layout, window_seconds, margin)
        return self._blocks(codes, hop, margin, window)

    def _blocks(self, codes: np.ndarray, hop: int, margin: chunked.Margin, window: int) -> Iterator[np.ndarray]:
        size = chunked.fitting_window(len(codes) * hop, window, margin, hop)
        frames = self._remembered(codes, hop, window)
        held, origin = np.zeros((0, 0), np.float32), 0  # held[0] is frame `origin`
        for span in chunked.spans(len(codes) * hop, size, margin):
            first, stop = span.start // hop, (span.start + size) // hop
            while origin + len(held) < stop:
                new = next(frames)
                held = np.concatenate([held, new]) if len(held) else new
            held, origin = held[first - origin :], first
            yield np.asarray(self._render(self._weights, held[None, : stop - first]))[0, span.kept()]

    def _remembered(self, codes: np.ndarray, hop: int, window: int) -> Iterator[np.ndarray]:
        """What the decoder's LSTM makes of the codes, consecutive float32 [T, D], its state carried along."""
        margin = margins.of_remembering(self.config)
        size = chunked.fitting_window(len(codes) * hop, max(window, margin.smallest_window), margin, hop)
        state = jax.tree.map(jnp.asarray, self._start(self._weights))
        for span in chunked.spans(len(codes) * hop, size, margin):
            first, kept = span.start // hop, span.kept(hop)
            part = codes[first : first + size // hop].astype(np.int32)
            mask = np.zeros(len(part), bool)
            mask[kept] = True
            frames, state = self._remember(self._weights, part[None], state, mask)
            yield np.asarray(frames)[0, kept]

    @functools.cached_property
    def _start(self) -> Any:
        def start(weights: tuple) -> tuple:
            memory = self._network(weights).decoder.memory
            return () if memory is None else memory.start(1)

        return jax.jit(start)

    @functools.cached_property
    def _remember(self) -> Any:
        def remember(weights: tuple, codes: jax.Array, state: tuple, kept: jax.Array) -> tuple:
            network = self._network(weights)
            return network.decoder.remember(network.quantizer.decode(codes), state, kept)

        return jax.jit(remember)

    @functools.cached_property
    def _render(self) -> Any:
        return jax.jit(lambda weights, frames: self._network(weights).decoder.render(frames))


def require_stream(settings: config.EncodecConfig) -> None:
    """Raises UserError unless the codes are one sequence, as those of data sets, priors and samples are."""
    config.require(
        settings.is_stream,
        f"this EnCodec is of {settings.channels} channels and encodes chunks of {settings.chunk_seconds:g} s with a "
        "loudness each: data sets, codes and priors here are of mono audio and of codes alone. Use the 24 or 32 kHz "
        "model, or in Python pretrained.load_encodec(DIR), whose encode and decode take such audio",
    )


def layout_of(settings: config.EncodecConfig, fingerprint: str) -> Layout:
    """The stream of its codes; `fingerprint` is the digest of its weights.

    Raises:
      UserError: the codes of this one are no stream.
    """
    require_stream(settings)
    return codec_tokenizer.layout_of(settings, fingerprint)
