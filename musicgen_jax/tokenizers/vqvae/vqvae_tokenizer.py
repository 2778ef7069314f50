"""A trained VQ-VAE as a tokenizer: encoders and decoders of convolutions, walked over audio in windows."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes.layout import Layout, Stream
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers import chunked
from musicgen_jax.tokenizers.tokenizer import Tokenizer
from musicgen_jax.tokenizers.vqvae import margins, vqvae


class VQVAETokenizer(Tokenizer):
    """Encodes and decodes with a VQ-VAE of any number of streams and codebooks, on one device.

    Attributes:
      config: of the VQ-VAE.
    """

    def __init__(self, vqvae_config: config.Streams, params: modules.Tree, buffers: modules.Tree):
        self.config = vqvae_config
        self._functional = modules.Functional(lambda rngs: vqvae.VQVAE(vqvae_config, rngs=rngs))
        # Arguments, not closed-over constants: otherwise the weights would be compiled into the program.
        self._weights = (params, buffers)
        self.layout = layout_of(vqvae_config, modules.fingerprint(params, buffers))

    def codebooks(self) -> dict[str, np.ndarray]:
        model: vqvae.VQVAE = self._functional.bind(*self._weights)
        return {name: np.asarray(model.tier(name).quantizer.codebook()) for name in self.layout.names}

    @functools.cached_property
    def _encode(self) -> Any:
        return jax.jit(lambda weights, audio: self._functional.bind(*weights).encode(audio))

    @functools.cached_property
    def _latents(self) -> Any:
        def latents(weights: tuple, audio: jax.Array, tier: str) -> dict[str, jax.Array]:
            return {tier: self._functional.bind(*weights).tier(tier).encoder(audio)}

        return jax.jit(latents, static_argnames="tier")

    @functools.cached_property
    def _decode(self) -> Any:
        def decode(weights: tuple, codes: jax.Array, start: jax.Array, tier: str) -> jax.Array:
            return self._functional.bind(*weights).tier(tier).decode(codes, start)

        return jax.jit(decode, static_argnames="tier")

    def encoder(self, window_seconds: float = 10.0) -> chunked.Encoder:
        margin = margins.of_encoder(self.config)
        window = chunked.window_samples(self.layout, window_seconds, margin)
        return chunked.Encoder(self.layout, margin, window, functools.partial(self._encode, self._weights))

    def latent_encoder(self, stream: str, window_seconds: float = 10.0) -> chunked.Encoder:
        run = functools.partial(self._latents, self._weights, tier=stream)
        return dataclasses.replace(self.encoder(window_seconds), run=run)

    def decode_blocks(self, codes: np.ndarray, stream: str, window_seconds: float = 10.0) -> Iterator[np.ndarray]:
        margin, together = self.margin(stream), margins.frames_together(self.config, stream)
        window = chunked.window_samples(self.layout, window_seconds, margin)
        config.require(
            len(codes) % together == 0,
            f"{len(codes)} codes of {stream}: the synthesizer of this tokenizer takes them {together} at a time; cut "
            "or pad them",
        )
        decode_window = functools.partial(self._decode, self._weights, tier=stream)
        return chunked.decode(decode_window, codes, self.layout.stream(stream).hop_length, margin, window)

    def margin(self, stream: str) -> chunked.Margin:
        return margins.of_decoder(self.config, stream)


def layout_of(vqvae_config: config.Streams, fingerprint: str) -> Layout:
    """The streams of a VQ-VAE's codes, each told the one before it; `fingerprint` is the digest of its weights."""
    hops, sizes = vqvae_config.hop_lengths, (vqvae_config.quantizer.num_codebooks, vqvae_config.quantizer.num_codes)
    above = dict(zip(hops, ["", *hops], strict=False))
    streams = [Stream(name, hop, *sizes, above[name]) for name, hop in hops.items()]
    return Layout(vqvae_config.sample_rate, 1, tuple(streams), fingerprint)
