"""A trained codec as a tokenizer: one stream, `codes`, walked over in windows that its margins tell."""

import abc
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from musicgen_jax.codes.layout import Layout, Stream
from musicgen_jax.config.codec import CODES, Codec
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers import chunked
from musicgen_jax.tokenizers.tokenizer import Tokenizer
from musicgen_jax.tokenizers.vqvae import vqvae


class CodecTokenizer(Tokenizer):
    """Encodes and decodes with a codec, on one device. A subclass says how far its network looks.

    Attributes:
      config: of the codec.
    """

    def __init__(self, codec: Codec, network: vqvae.Network, params: modules.Tree, buffers: modules.Tree):
        """Args:
        codec: config of the codec.
        network: a `network.Network` of that codec.
        params, buffers: of `vqvae.VQVAE` with this network.
        """
        self.config = codec
        self._functional = modules.Functional(lambda rngs: vqvae.VQVAE(codec, network=network, rngs=rngs))
        self._weights = (params, buffers)  # arguments of what is compiled: else they would be part of the program
        self.layout = layout_of(codec, modules.fingerprint(params, buffers))

    @abc.abstractmethod
    def encoder_margin(self) -> chunked.Margin:
        """How many samples before and after the samples of a frame decide its codes; whole frames."""

    @abc.abstractmethod
    def decoder_margin(self) -> chunked.Margin:
        """How many samples before and after a sample have codes that it depends on; whole frames."""

    def codebooks(self) -> dict[str, np.ndarray]:
        return {CODES: np.asarray(self._network(self._weights).quantizer.codebook())}

    def encoder(self, window_seconds: float = 10.0) -> chunked.Encoder:
        return self._encoder(self._encode, window_seconds)

    def latent_encoder(self, stream: str, window_seconds: float = 10.0) -> chunked.Encoder:
        self.layout.stream(stream)
        return self._encoder(self._latents, window_seconds)

    def decode_blocks(self, codes: np.ndarray, stream: str, window_seconds: float = 10.0) -> Iterator[np.ndarray]:
        margin, hop_length = self.decoder_margin(), self.layout.stream(stream).hop_length
        window = chunked.window_samples(self.layout, window_seconds, margin)
        decode = functools.partial(self._decode, self._weights)
        return chunked.decode(lambda part, first: decode(part), codes, hop_length, margin, window)

    def margin(self, stream: str) -> chunked.Margin:
        self.layout.stream(stream)
        return self.decoder_margin()

    def _network(self, weights: tuple) -> Any:
        return self._functional.bind(*weights).tier(CODES)

    def _encoder(self, run: Any, window_seconds: float) -> chunked.Encoder:
        margin = self.encoder_margin()
        window = chunked.window_samples(self.layout, window_seconds, margin)
        return chunked.Encoder(self.layout, margin, window, functools.partial(run, self._weights))

    @functools.cached_property
    def _encode(self) -> Any:
        return jax.jit(lambda weights, audio: {CODES: self._network(weights).encode(audio)})

    @functools.cached_property
    def _latents(self) -> Any:
        return jax.jit(lambda weights, audio: {CODES: self._network(weights).encoder(audio)})

    @functools.cached_property
    def _decode(self) -> Any:
        return jax.jit(lambda weights, codes: self._network(weights).decode(codes))


def layout_of(codec: Codec, fingerprint: str) -> Layout:
    """The one stream of a codec of mono audio; `fingerprint` is the digest of its weights."""
    quantizer = codec.quantizer
    stream = Stream(CODES, codec.hop_length, quantizer.num_codebooks, quantizer.num_codes)
    return Layout(codec.sample_rate, 1, (stream,), fingerprint)
