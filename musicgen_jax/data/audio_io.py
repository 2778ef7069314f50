"""Audio files: streaming decode to mono, streaming resample, 16-bit wav."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np
import soundfile
import soxr

from musicgen_jax.errors import NotFoundError, UserError

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")
MAX_CHANNELS = 2
INT16_SCALE = 32767.0


def describe_path(path: str | os.PathLike[str]) -> str:
    """A path as valid text: bytes that are not UTF-8 become backslash escapes, so that it can be stored and printed."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def open_audio(path: str | os.PathLike[str]) -> Iterator[soundfile.SoundFile]:
    """Opens an audio file for reading; every way in which opening or decoding fails becomes a one-line UserError.

    Raises:
      NotFoundError: there is no such file.
      UserError: the file is empty, or libsndfile can't decode it (also when that shows only while reading).
    """
    name = describe_path(path)
    if not os.path.isfile(path):
        raise NotFoundError(f"no such audio file: {name}")
    if os.path.getsize(path) == 0:
        raise UserError(f"{name}: 0 bytes: copy the file again")
    try:
        file = soundfile.SoundFile(os.fsencode(path))
    except soundfile.LibsndfileError as error:
        # libsndfile says "File does not exist" of an mp3 in which it finds no audio; that would send people astray.
        found = "no audio found in it" if "does not exist" in error.error_string else error.error_string.strip(" .")
        raise UserError(f"{name}: undecodable: {found}; convert it to wav or flac, or leave it out") from error
    with file:
        try:
            yield file
        except soundfile.LibsndfileError as error:
            raise UserError(
                f"{name}: truncated or damaged: decoding breaks off before the {file.frames} frames that its header "
                "promises; copy or convert the file again"
            ) from error


def native_blocks(file: soundfile.SoundFile, block_seconds: float = 10.0) -> Iterator[np.ndarray]:
    """Decodes an open file in order: float32 blocks [S, C] at its own rate; memory is bounded by the block."""
    num_frames = max(1, round(block_seconds * file.samplerate))
    while len(block := file.read(num_frames, dtype="float32", always_2d=True)):
        yield block


def read_blocks(path: str | os.PathLike[str], sample_rate: int, block_seconds: float = 10.0) -> Iterator[np.ndarray]:
    """Decodes a file of any length in bounded memory: mono (the mean of two channels), resampled.

    Args:
      path: wav, flac, ogg or mp3 with one or two channels.
      sample_rate: Hz of the output. The resampler is soxr's HQ in streaming form, equal to one call over the whole.
      block_seconds: how much is decoded at a time; the result does not depend on it.

    Yields:
      float32 [S] in order, none of them empty; [-1, 1] unless the file itself goes beyond.

    Raises:
      NotFoundError: there is no such file.
      UserError: it can't be decoded, or has more than two channels.
    """
    with open_audio(path) as file:
        if file.channels > MAX_CHANNELS:
            raise UserError(
                f"{describe_path(path)}: {file.channels} channels; at most {MAX_CHANNELS} are read: mix it down first"
            )
        mono = (block.mean(axis=1, dtype=np.float32) for block in native_blocks(file, block_seconds))
        yield from resample_blocks(mono, file.samplerate, sample_rate)


def resample_blocks(blocks: Iterator[np.ndarray], source_rate: int, sample_rate: int) -> Iterator[np.ndarray]:
    """Resamples consecutive mono float32 blocks [S] from `source_rate` to `sample_rate` Hz; skips empty outputs."""
    if source_rate == sample_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(source_rate, sample_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        if len(resampled := stream.resample_chunk(block)):
            yield resampled
    if len(rest := stream.resample_chunk(np.zeros(0, np.float32), last=True)):
        yield rest


def read_audio(path: str | os.PathLike[str], sample_rate: int) -> np.ndarray:
    """A whole file as mono float32 [S] at `sample_rate`; errors as `read_blocks`."""
    blocks = list(read_blocks(path, sample_rate))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def to_int16(audio: np.ndarray) -> np.ndarray:
    """float [-1, 1] -> int16, rounded; what lies beyond full scale is clipped.

    Raises:
      UserError: a sample is NaN or infinite.
    """
    if not np.isfinite(audio).all():
        bad = int(np.count_nonzero(~np.isfinite(audio)))
        raise UserError(f"{bad} samples are NaN or infinite; audio must be finite: find where they come from")
    return np.rint(np.clip(audio, -1.0, 1.0) * INT16_SCALE).astype(np.int16)


def from_int16(audio: np.ndarray) -> np.ndarray:
    """int16 -> float32 in [-1, 1]; the inverse of `to_int16` to within half a step."""
    return np.maximum(audio.astype(np.float32) / np.float32(INT16_SCALE), np.float32(-1.0))


def write_wav(path: str | os.PathLike[str], audio: np.ndarray, sample_rate: int) -> None:
    """Writes mono [S] or interleaved [S, C] float audio as a 16-bit wav, clipped to full scale.

    Raises:
      UserError: a sample is NaN or infinite, or the array has no samples or more than two axes.
    """
    if audio.ndim not in (1, 2) or not len(audio):
        raise UserError(f"audio has shape {audio.shape}; a wav file needs [S] or [S, C] with at least one sample")
    soundfile.write(os.fsencode(path), to_int16(audio), sample_rate, subtype="PCM_16", format="WAV")
