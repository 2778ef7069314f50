"""Audio files: decoding to mono and resampling block by block, in bounded memory; writing of 16-bit wav."""

import contextlib
import os
import wave
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from musicgen_jax.data.containers import container
from musicgen_jax.data.containers.content import COPY_AGAIN, Part, PartFile, truncated
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")
MAX_CHANNELS = 2
MIN_SOURCE_RATE, MAX_SOURCE_RATE = 2000, 768_000  # Hz; telephones have 8000, studios up to 384,000
MAX_SECONDS = 24 * 3600  # of one file
# Codecs reach 200 to 1, a constant in FLAC some hundreds: what grows more is a trap, or its header lies.
MAX_EXPANSION, FREE_BYTES = 1000, 1 << 26
SLACK_FRAMES = 4096  # by which a decoder's word on the length may be wrong
UNKNOWN_FRAMES = 1 << 62  # libsndfile announces 2^63 - 1 where it does not know
INT16_SCALE = 32767.0


class _Forward(soundfile.SoundFile):
    """Read from its beginning to its end: soundfile seeks after each read of a file that can be sought, and where a
    read fell short, libsndfile's seek lands elsewhere: the tail of a damaged file came out twice."""

    def seekable(self) -> bool:
        return False


class AudioFile:
    """An open audio file; see `open_audio`.

    Attributes:
      name: path, as valid text.
      sample_rate: Hz.
      channels: number of channels.
      artist: by the file's tags, or "".
      genre, album, title: likewise.
      warnings: what is doubtful, though all of it can be read: "category: detail" each; complete behind the last block.
    """

    def __init__(self, file: BinaryIO, name: str, size: int) -> None:
        self._file, self._size, self.name = file, size, name
        content = container.read(file, size, os.path.splitext(name)[1].lower())
        self._parts, self.warnings = content.parts, content.warnings
        self.artist, self.genre, self.album, self.title = content.artist, content.genre, content.album, content.title
        with self._open(self._parts[0]) as first:
            self.sample_rate, self.channels = first.samplerate, first.channels

    @contextlib.contextmanager
    def _open(self, part: Part) -> Iterator[soundfile.SoundFile]:
        view = PartFile(self._file, part)
        try:
            decoder = _Forward(view)
        except soundfile.LibsndfileError as error:
            if view.error is not None:
                raise view.error from error
            unknown = "not recognised" in error.error_string  # what libsndfile says of a text, and of an empty mp3
            found = "no audio found in it" if unknown else error.error_string.strip(" .")
            raise UserError(f"undecodable: {found}; convert it to wav or flac, or leave it out") from error
        with decoder:
            try:
                yield decoder
            finally:
                if view.error is not None:  # the cause of whatever else went wrong
                    raise view.error

    def blocks(self, block_seconds: float = 10.0) -> Iterator[np.ndarray]:
        """Decodes the file once, in order: float32 blocks [S, C] at its own rate; memory is bounded by the block.

        Raises:
          UserError: behind the last block, where less came out than the container promises; or before it becomes
            absurdly long.
        """
        with _named(self.name):
            self._require_fit()
            num_frames, total = max(1, round(block_seconds * self.sample_rate)), 0
            for part in self._parts:
                with self._open(part) as decoder:
                    self._require_alike(decoder)
                    before = total
                    for block in _decoded(decoder, num_frames):
                        total += len(block)
                        self._require_plausible(total)
                        yield block
                    _require_whole(part, decoder.frames, total - before)
                    if part.frames and total - before > part.frames:
                        known = f"its header says {part.frames} frames, {total - before} are there and are read"
                        self.warnings += (f"wrong length: {known}",)

    def _require_fit(self) -> None:
        if not MIN_SOURCE_RATE <= self.sample_rate <= MAX_SOURCE_RATE:
            raise UserError(
                f"sample rate out of range: {self.sample_rate} Hz, believed are "
                f"{MIN_SOURCE_RATE} to {MAX_SOURCE_RATE}; convert the file again"
            )
        if self.channels > MAX_CHANNELS:
            raise UserError(
                f"more than {MAX_CHANNELS} channels: it has {self.channels} channels; mix it down to stereo first"
            )

    def _require_alike(self, decoder: soundfile.SoundFile) -> None:
        if (decoder.samplerate, decoder.channels) != (self.sample_rate, self.channels):
            raise UserError(
                f"mixed streams: {decoder.samplerate} Hz in {decoder.channels} channels after {self.sample_rate} Hz in "
                f"{self.channels}; convert the file again"
            )

    def _require_plausible(self, frames: int) -> None:
        if frames > MAX_SECONDS * self.sample_rate:
            raise UserError(f"too long: more than {MAX_SECONDS // 3600} hours; cut it into pieces")
        if frames * self.channels * 2 > MAX_EXPANSION * self._size + FREE_BYTES:
            raise UserError(f"implausible: {self._size} bytes become more than {frames / self.sample_rate:.0f} s")


def _require_whole(part: Part, announced: int, decoded: int) -> None:
    known = announced < UNKNOWN_FRAMES
    wanted = part.min_frames if part.min_frames is not None else (announced - SLACK_FRAMES if known else 0)
    if decoded < wanted:
        raise truncated(f"{decoded} of {max(announced, wanted) if known else wanted} frames can be decoded")


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def _decoded(decoder: soundfile.SoundFile, num_frames: int) -> Iterator[np.ndarray]:
    try:
        while len(block := decoder.read(num_frames, dtype="float32", always_2d=True)):
            yield block
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"truncated or damaged: decoding breaks off ({error.error_string.strip(' .')}); {COPY_AGAIN}"
        ) from error


@contextlib.contextmanager
def open_audio(path: str | os.PathLike[str]) -> Iterator[AudioFile]:
    """Opens an audio file for one reading; every way in which it is unfit becomes a UserError of one line.

    Its container is checked before anything is decoded, and what was decoded against what it promises: a file that is
    cut or damaged raises at the latest behind its last block.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is no file but a folder, FIFO or device; or it is empty, undecodable, cut, damaged, or has a sample
        rate, number of channels or length that nobody wants; also while the block of this context reads. The message
        is "path: category: detail".
      OSError: the system does not let it be read.
    """
    size, name = files.require_file(path, "audio file"), files.describe_path(path)
    with open(path, "rb") as file:
        with _named(name):
            audio = AudioFile(file, name, size)
        yield audio


def read_blocks(path: str | os.PathLike[str], sample_rate: int, block_seconds: float = 10.0) -> Iterator[np.ndarray]:
    """Decodes a file of any length in bounded memory: mono (the mean of two channels), resampled.

    Args:
      path: wav, flac, ogg or mp3 with one or two channels.
      sample_rate: Hz of the output. The resampler is soxr's HQ in streaming form, equal to one call over the whole.
      block_seconds: how much is decoded at a time; the result does not depend on it.

    Yields:
      float32 [S] in order, none of them empty; [-1, 1] unless the file itself goes beyond.

    Raises:
      NotFoundError, UserError, OSError: as `open_audio`; that it is cut may show behind the last block only.
    """
    with open_audio(path) as file:
        yield from mono_blocks(file, sample_rate, block_seconds)


def mono_blocks(file: AudioFile, sample_rate: int, block_seconds: float = 10.0) -> Iterator[np.ndarray]:
    """As `read_blocks`, of a file that `open_audio` opened."""
    mono = (mixed(block) for block in file.blocks(block_seconds))
    yield from resample_blocks(mono, file.sample_rate, sample_rate)


def mixed(block: np.ndarray) -> np.ndarray:
    """float32 [S, C] of one or two channels -> their mean [S], several times as fast as NumPy's."""
    if block.shape[1] == 1:
        return block[:, 0]
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        return (block[:, 0] + block[:, 1]) * np.float32(0.5)


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


def write_wav(
    path: str | os.PathLike[str], audio: np.ndarray, sample_rate: int, aside: str | os.PathLike[str] | None = None
) -> None:
    """Writes mono [S] or interleaved [S, C] float audio as a 16-bit wav, clipped to full scale.

    It is there whole or not at all; `aside` is as for `files.replaced`.

    Raises:
      UserError: a sample is NaN or infinite, or the array has no samples or more than two axes.
    """
    if audio.ndim not in (1, 2) or not len(audio):
        raise UserError(f"audio has shape {audio.shape}; a wav file needs [S] or [S, C] with at least one sample")
    with files.replaced(path, aside) as file, new_wav(file, sample_rate, audio[0].size) as wav:
        wav.writeframes(to_int16(audio).tobytes())


def new_wav(file: BinaryIO, sample_rate: int, channels: int = 1) -> wave.Wave_write:
    """A 16-bit wav, whose frames are int16. Where the disk is full that is an OSError, which libsndfile has none of."""
    wav = wave.Wave_write(file)
    wav.setparams((channels, 2, sample_rate, 0, "NONE", ""))
    return wav
