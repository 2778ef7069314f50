"""A trained tokenizer, ready to encode and decode audio of any length; others know it by its layout."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes.layout import Layout, Stream
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers import chunked
from musicgen_jax.tokenizers.vqvae import vqvae


class Tokenizer:
    """Audio <-> codes on one device, in bounded memory.

    Attributes:
      config: of the VQ-VAE; what others need of it is in `layout`.
      layout: its streams of codes; its fingerprint is a digest of all weights, by which codes and priors remember which
        tokenizer they belong to.
    """

    def __init__(self, vqvae_config: config.VQVAEConfig, params: modules.Tree, buffers: modules.Tree):
        self.config = vqvae_config
        self._functional = modules.Functional(lambda rngs: vqvae.VQVAE(vqvae_config, rngs=rngs))
        # Arguments, not closed-over constants: otherwise the weights would be compiled into the program.
        self._weights = (params, buffers)
        self.layout = _layout(vqvae_config, modules.fingerprint(params, buffers))

    @property
    def fingerprint(self) -> str:
        """Of the layout."""
        return self.layout.fingerprint

    def codebooks(self) -> dict[str, np.ndarray]:
        """What the codes of every stream decode to, before the decoder: float32 [Q, K, code_width]."""
        model: vqvae.VQVAE = self._functional.bind(*self._weights)
        return {tier: np.asarray(model.tier(tier).quantizer.codebook()) for tier in self.layout.names}

    @functools.cached_property
    def _encode(self) -> Any:
        return jax.jit(lambda weights, audio: self._functional.bind(*weights).encode(audio))

    @functools.cached_property
    def _decode(self) -> Any:
        def decode(weights: tuple, codes: jax.Array, start: jax.Array, tier: str) -> jax.Array:
            return self._functional.bind(*weights).tier(tier).decode(codes, start)

        return jax.jit(decode, static_argnames="tier")

    def encode(self, blocks: Iterator[np.ndarray], window_seconds: float = 10.0) -> dict[str, np.ndarray]:
        """Mono float32 blocks [S] at the layout's sample rate -> {stream: int16 [T, Q]}; see `chunked.encode`."""
        window = chunked.window_samples(self.config, window_seconds, chunked.encoder_margin(self.config))
        return chunked.encode(lambda audio: self._encode(self._weights, audio), blocks, self.config, window)

    def decode(self, codes: np.ndarray, tier: str, window_seconds: float = 10.0) -> np.ndarray:
        """Integer codes [T, Q'] of one stream, of its first Q' <= Q codebooks -> float32 [T * hop_length]."""
        return np.concatenate([np.zeros(0, np.float32), *self.decode_blocks(codes, tier, window_seconds)])

    def decode_blocks(self, codes: np.ndarray, tier: str, window_seconds: float = 10.0) -> Iterator[np.ndarray]:
        """`decode` in consecutive blocks float32 [S], so that memory holds one window of audio whatever the length."""
        window = chunked.window_samples(self.config, window_seconds, chunked.decoder_margin(self.config, tier))
        decode_window = functools.partial(self._decode, self._weights, tier=tier)
        return chunked.decode(decode_window, codes, tier, self.config, window)

    def margin(self, stream: str) -> chunked.Margin:
        """Samples around a code of a stream that decide what it decodes to: what is decoded with so much more at both
        ends is, but for these, what the whole decodes to."""
        return chunked.decoder_margin(self.config, stream)


def _layout(vqvae_config: config.VQVAEConfig, fingerprint: str) -> Layout:
    """Each stream is told the one before it."""
    hops, sizes = vqvae_config.hop_lengths, (vqvae_config.quantizer.num_codebooks, vqvae_config.quantizer.num_codes)
    above = dict(zip(hops, ["", *hops], strict=False))
    streams = [Stream(name, hop, *sizes, above[name]) for name, hop in hops.items()]
    return Layout(vqvae_config.sample_rate, 1, tuple(streams), fingerprint)
