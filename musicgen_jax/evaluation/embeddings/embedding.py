"""What every embedding of audio promises, and what they share: the checks of a waveform, and batches of one shape."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Protocol

import jax
import numpy as np
import soxr

from musicgen_jax.runtime.errors import UserError


class Embedding(Protocol):
    """Turns audio into frames of numbers, whose distribution tells sets of recordings from each other.

    Attributes:
      name: of the embedding; it says which network it is.
      version: hexadecimal digest of its weights and of how audio is brought to it. Frames of different versions are
        never compared.
      sample_rate: Hz, of what it hears; audio of other rates is resampled.
      window_seconds: of the audio that a frame is made of, and the shortest clip that has one.
      hop_seconds: from a frame to the next.
      dimensions: D, numbers of a frame.
    """

    name: str
    version: str
    sample_rate: int
    window_seconds: float
    hop_seconds: float
    dimensions: int

    def embed(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        """Frames float32 [N, D] of a mono waveform [S] of `sample_rate` Hz, in [-1, 1].

        Raises:
          UserError: not mono, shorter than a window, or a sample is not finite.
        """
        ...

    @property
    def distance(self) -> str:
        """What its Fréchet distance is called. "FAD", Fréchet Audio Distance, is said of VGGish alone."""
        return f"FD-{self.name}"


def long_enough(embedding: Embedding, num_samples: int, sample_rate: int) -> bool:
    """Whether a clip has a frame."""
    return num_samples >= embedding.window_seconds * sample_rate


def checked(embedding: Embedding, audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """The waveform in float32, or UserError as `Embedding.embed` says."""
    waveform = np.asarray(audio, np.float32)
    if waveform.ndim != 1:
        raise UserError(f"audio of shape {waveform.shape}: the embedding takes one mono waveform [S]")
    if not np.all(np.isfinite(waveform)):
        raise UserError(f"{np.count_nonzero(~np.isfinite(waveform))} samples are not finite: they cannot be embedded")
    if not long_enough(embedding, len(waveform), sample_rate):
        raise UserError(
            f"audio of {len(waveform) / sample_rate:.2f} s is shorter than one frame of {embedding.window_seconds:g} s "
            f"of {embedding.name}: use longer clips"
        )
    return waveform


def resampled(waveform: np.ndarray, sample_rate: int, wanted: int) -> np.ndarray:
    """A waveform [S] at the rate that is wanted: round(S * wanted / sample_rate) samples."""
    if sample_rate == wanted:
        return waveform
    length = round(len(waveform) * wanted / sample_rate)
    waveform = soxr.resample(waveform, sample_rate, wanted, quality="HQ")
    return np.pad(waveform, (0, max(0, length - len(waveform))))[:length]


def in_batches(run: Callable[[np.ndarray], jax.Array], inputs: np.ndarray, batch_size: int) -> np.ndarray:
    """`run` of inputs [N, ...], `batch_size` at a time: [N, ...].

    Every batch has the same shape, so that clips of any length share one compilation; the last is filled with zeros.
    """
    outputs = []
    for start in range(0, len(inputs), batch_size):
        part = inputs[start : start + batch_size]
        batch = np.zeros((batch_size, *inputs.shape[1:]), np.float32)
        batch[: len(part)] = part
        outputs.append(np.asarray(run(batch))[: len(part)])
    return np.concatenate(outputs)


def version_of(how: str, weights: Iterable[tuple[str, np.ndarray]] = ()) -> str:
    """Digest, 16 hexadecimal characters, of named weights and of `how` audio is brought to them."""
    digest = hashlib.sha256(how.encode())
    for name, array in weights:
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
