"""What music follows: the melody of a recording, as priors are told it."""

import dataclasses
import hashlib
import os
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.audio import chroma
from musicgen_jax.data import audio_io
from musicgen_jax.runtime import files
from musicgen_jax.sampling import prompts


@dataclasses.dataclass(frozen=True)
class Melody:
    """A melody: int32 [F], the loudest pitch class of each frame of `chroma.HOP_LENGTH` samples."""

    classes: np.ndarray

    @property
    def digest(self) -> str:
        """Hexadecimal digest, 16 characters."""
        return hashlib.sha256(self.classes.astype(np.int32).tobytes()).hexdigest()[:16]


def load(source: Any, sample_rate: int) -> Melody:
    """The melody of a recording, or of a waveform at `sample_rate`: floats [S], of two channels [S, 2].

    A melody that stands out from what accompanies it is followed best: a voice or an instrument alone.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is no recording, or holds no sample, or several pieces.
    """
    if isinstance(source, str | os.PathLike):
        path = files.local_path(source, "melody")
        files.require_file(path, "recording")
        audio = audio_io.read_audio(path, sample_rate)
    else:
        audio = prompts.waveform(source, "melody")
    config.require(audio.ndim == 1 and len(audio) > 0, f"`melody`: must be one piece of music, not {audio.shape}")
    return Melody(chroma.loudest_classes(audio.astype(np.float32), sample_rate))
