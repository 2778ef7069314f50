"""EnCodec by itself, mono or stereo, also where its codes are no stream: chunks that overlap, each with its loudness
(Defossez et al. 2022, section 4.1, the model of 48 kHz)."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config
from musicgen_jax.config.codec import CODES
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers.encodec import encodec

BATCH_SIZE = 8  # chunks at a time
_QUIETEST = 1e-8  # added to a loudness, which is divided by


@dataclasses.dataclass(frozen=True)
class Chunk:
    """What is transmitted of one.

    Attributes:
      codes: int16 [T, Q].
      scale: root mean square of the chunk's mono mix, by which the decoded audio is multiplied; 1 where the config does
        not normalize.
    """

    codes: np.ndarray
    scale: float


class ChunkCodec:
    """A trained EnCodec on one device, as a codec of whole recordings.

    Attributes:
      config: of the codec.
      fingerprint: digest of its weights.
    """

    def __init__(self, settings: config.EncodecConfig, params: modules.Tree, buffers: modules.Tree):
        self.config, self.fingerprint = settings, modules.fingerprint(params, buffers)
        self._functional = encodec.functional(settings)
        self._weights = (params, buffers)

    def encode(self, audio: np.ndarray, num_codebooks: int | None = None) -> list[Chunk]:
        """Chunks of a recording, in order; without chunks in the config, one.

        Args:
          audio: float32 [S, C] at the config's sample rate; [S] where it is mono.
          num_codebooks: the first so many codebooks alone; None takes all.

        Raises:
          UserError: no samples, or another number of channels.
        """
        channels, audio = self.config.channels, np.asarray(audio, np.float32)
        audio = audio[:, None] if audio.ndim == 1 else audio
        config.require(
            audio.ndim == 2 and audio.shape[1] == channels and len(audio) > 0,
            f"`audio` has the shape {audio.shape}: this EnCodec takes one or more samples of {channels} channels",
        )
        size, stride = self._chunk_sizes(len(audio))
        starts = range(0, len(audio), stride) if self.config.chunk_seconds else (0,)
        found = []
        for group in _groups([audio[start : start + size] for start in starts]):
            codes, scales = self._encode(self._weights, np.stack(group))
            codes = np.asarray(codes, np.int16)[..., :num_codebooks]
            found += [Chunk(one, float(scale)) for one, scale in zip(codes, np.asarray(scales), strict=True)]
        return found

    def decode(self, chunks: Sequence[Chunk], num_samples: int | None = None) -> np.ndarray:
        """float32 [S, C] of all chunks of a recording: S is `num_samples`, or all that the codes reach over.

        Where chunks overlap, each counts by a triangle over its length.
        """
        parts = []
        for group in _groups([chunk.codes for chunk in chunks]):
            parts += list(np.asarray(self._decode(self._weights, np.stack(group).astype(np.int32))))
        scaled = [part * np.float32(chunk.scale) for part, chunk in zip(parts, chunks, strict=True)]
        if not self.config.chunk_seconds:
            return scaled[0][:num_samples]
        return _overlap_added(scaled, self.config.chunk_stride)[:num_samples]

    def _chunk_sizes(self, num_samples: int) -> tuple[int, int]:
        settings = self.config
        return (settings.chunk_samples, settings.chunk_stride) if settings.chunk_seconds else (num_samples, num_samples)

    @functools.cached_property
    def _encode(self) -> Any:
        def encode(weights: tuple, audio: jax.Array) -> tuple[jax.Array, jax.Array]:
            scales = jnp.ones(len(audio), jnp.float32)
            if self.config.normalize:
                scales = jnp.sqrt(jnp.mean(jnp.mean(audio, axis=2) ** 2, axis=1)) + _QUIETEST
            audio = audio / scales[:, None, None]
            network = self._functional.bind(*weights).tier(CODES)
            return network.encode(audio[..., 0] if self.config.channels == 1 else audio), scales

        return jax.jit(encode)

    @functools.cached_property
    def _decode(self) -> Any:
        def decode(weights: tuple, codes: jax.Array) -> jax.Array:
            audio = self._functional.bind(*weights).tier(CODES).decode(codes)
            return audio[..., None] if self.config.channels == 1 else audio

        return jax.jit(decode)


def _groups(parts: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Consecutive arrays of one length, at most BATCH_SIZE at a time."""
    group: list[np.ndarray] = []
    for part in parts:
        if group and (len(part) != len(group[0]) or len(group) == BATCH_SIZE):
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _overlap_added(parts: list[np.ndarray], stride: int) -> np.ndarray:
    """Mean of parts [S, C], `stride` samples apart, weighted by a triangle that is highest in the middle of each."""
    length = max(index * stride + len(part) for index, part in enumerate(parts))
    total, weights = np.zeros((length, parts[0].shape[1]), np.float32), np.zeros((length, 1), np.float32)
    longest = len(parts[0])
    triangle = 0.5 - np.abs(np.linspace(0, 1, longest + 2, dtype=np.float32)[1:-1, None] - 0.5)
    for index, part in enumerate(parts):
        place = slice(index * stride, index * stride + len(part))
        total[place] += triangle[: len(part)] * part
        weights[place] += triangle[: len(part)]
    return total / weights
