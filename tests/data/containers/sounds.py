"""Audio files as bytes, and what is made of them."""

import io
import pathlib

import numpy as np
import soundfile

from musicgen_jax.data import audio_check, audio_io

RATE = 16000


def noise(seconds: float = 2.0, sample_rate: int = RATE, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(round(seconds * sample_rate)) * 0.1).astype(np.float32)


def encoded(container: str, audio: np.ndarray, sample_rate: int = RATE, **options) -> bytes:
    """`audio` in a container that libsndfile writes: WAV, FLAC, OGG, MP3, ..."""
    buffer = io.BytesIO()
    channels = 1 if audio.ndim == 1 else audio.shape[1]
    with soundfile.SoundFile(buffer, "w", sample_rate, channels, format=container, **options) as file:
        for start in range(0, len(audio), sample_rate):  # its Vorbis encoder overflows its stack on long arrays
            file.write(audio[start : start + sample_rate])
    return buffer.getvalue()


def inspected(folder: pathlib.Path, name: str, data: bytes) -> audio_check.AudioFacts:
    (folder / name).write_bytes(data)
    return audio_check.inspect(str(folder / name), min_seconds=1.0)


def decoded(folder: pathlib.Path, name: str, data: bytes) -> np.ndarray:
    """float32 [S] at the file's own rate."""
    (folder / name).write_bytes(data)
    with audio_io.open_audio(folder / name) as file:
        return np.concatenate(list(file.blocks())).mean(axis=1, dtype=np.float32)
