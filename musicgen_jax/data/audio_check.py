"""Is an audio file fit for training? One pass over it, in bounded memory, tells that and what else is to be known."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator

import numpy as np

from musicgen_jax.data import audio_fingerprint, audio_io, near_duplicates
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError

SILENCE = 10 ** (-60 / 20)  # -60 dBFS: quieter than this is silence
FULL_SCALE = 0.999  # a 16-bit sample at its limit is 0.99997; lossy coding moves clipped tops by a little
MAX_CLIPPED = 1e-3  # share of samples at full scale above which a file is flagged
MAX_SILENT = 0.5  # share of silent time above which a file is flagged
SILENCE_SECONDS = 0.1  # time over which silence is judged
HASH_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class AudioFacts:
    """What one pass over a file tells.

    Attributes:
      hash: SHA-256 of the file's bytes.
      audio_hash: SHA-256 of the decoded mono samples and their rate: equal for the same audio in two containers.
      duration: decoded seconds.
      sample_rate: Hz.
      channels: number of channels.
      peak: largest absolute sample, 1 = full scale.
      clipped: share of samples at full scale, over all channels.
      silent: share of the time that is silent in the mono mix.
      artist: the file's tag, or "".
      genre, album, title: likewise.
      fingerprint: an `audio_fingerprint`, as `near_duplicates.to_text` writes it; "" where there is none.
      reason: why the file is rejected, "category: detail", or "".
      warning: what is doubtful about a file that is kept, or "".
    """

    hash: str
    audio_hash: str = ""
    duration: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    peak: float = 0.0
    clipped: float = 0.0
    silent: float = 0.0
    artist: str = ""
    genre: str = ""
    album: str = ""
    title: str = ""
    fingerprint: str = ""
    reason: str = ""
    warning: str = ""


class Tally:
    """What the blocks of one file add up to while it is read: its length, peaks, silence, clipping, its hash."""

    def __init__(self, sample_rate: int, fingerprint: bool) -> None:
        self._fingerprint = audio_fingerprint.Fingerprint(sample_rate) if fingerprint else None
        self.digest = hashlib.sha256(f"{sample_rate} Hz".encode())
        self.stretch = max(1, round(SILENCE_SECONDS * sample_rate))
        self.frames = self.nonfinite = self.at_full_scale = self.stretches = self.silent_stretches = 0
        self.peak = self.mono_peak = 0.0

    def add(self, block: np.ndarray) -> np.ndarray:
        """Takes in the next block of the file, float32 [S, C], and returns it mixed to mono, [S]."""
        mono = audio_io.mixed(block)
        self.digest.update(np.ascontiguousarray(mono))
        peak = max(float(block.max()), -float(block.min()))  # NaN where there is one
        if not math.isfinite(peak):
            self.nonfinite += int(np.count_nonzero(~np.isfinite(block)))
        if not peak < FULL_SCALE:
            self.at_full_scale += int(np.count_nonzero(np.abs(block) >= FULL_SCALE))
        self.peak = max(self.peak, peak)
        if self._fingerprint is not None and math.isfinite(peak):
            self._fingerprint.add(mono)
        peaks = np.maximum.reduceat(np.abs(mono), np.arange(0, len(mono), self.stretch))
        self.mono_peak = max(self.mono_peak, float(peaks.max()))
        self.stretches += len(peaks)
        self.silent_stretches += int(np.count_nonzero(peaks < SILENCE))
        self.frames += len(block)
        return mono

    def completed(self, facts: AudioFacts) -> AudioFacts:
        """`facts` with all that shows only when the last block has been read."""
        return dataclasses.replace(
            facts,
            audio_hash=self.digest.hexdigest(),
            fingerprint=near_duplicates.to_text(self._fingerprint.sketch()) if self._fingerprint else "",
            duration=self.frames / facts.sample_rate,
            peak=self.peak,
            clipped=self.at_full_scale / max(1, self.frames * facts.channels),
            silent=self.silent_stretches / max(1, self.stretches),
        )


class Inspection:
    """One pass over a file, which never raises for a bad file: `facts.reason` says what is wrong with it.

    Attributes:
      facts: what is known of it so far; all, once the blocks are used up.
    """

    def __init__(self, path: str, min_seconds: float, fingerprint: bool = False) -> None:
        """Args:
        path: the file.
        min_seconds: files shorter than this are rejected.
        fingerprint: whether to make one.
        """
        self.facts = AudioFacts(hash="")
        self._path, self._min_seconds, self._fingerprint = path, min_seconds, fingerprint

    def blocks(self, sample_rate: int) -> Iterator[np.ndarray]:
        """Decodes the file once, in bounded memory: mono float32 [S], as `audio_io.read_blocks`.

        Args:
          sample_rate: Hz of the blocks; 0 is the file's own.

        Ends early where the file turns out to be bad; what a caller does with a block may raise as it likes.
        """
        try:
            files.require_file(self._path, "audio file")
            self.facts = AudioFacts(hash=_file_hash(self._path))
            with audio_io.open_audio(self._path) as file:
                names = ("artist", "genre", "album", "title", "channels", "sample_rate")
                known = {name: getattr(file, name) for name in names}
                self.facts = dataclasses.replace(self.facts, **known)
                tally = Tally(file.sample_rate, self._fingerprint)
                mono = map(tally.add, file.blocks())
                yield from audio_io.resample_blocks(mono, file.sample_rate, sample_rate or file.sample_rate)
        except (UserError, OSError, MemoryError) as error:
            self.facts = dataclasses.replace(self.facts, reason=_explanation(error, self._path))
            return
        facts = tally.completed(self.facts)
        reason = _reason(facts, tally, self._min_seconds)
        warning = "" if reason else _warning(facts, file.warnings)
        self.facts = dataclasses.replace(facts, reason=reason, warning=warning)


def inspect(path: str, min_seconds: float) -> AudioFacts:
    """Decodes a file once, in bounded memory, for what that tells; arguments as `Inspection`."""
    inspection = Inspection(path, min_seconds)
    for _ in inspection.blocks(0):
        pass
    return inspection.facts


def _explanation(error: Exception, path: str) -> str:
    if isinstance(error, MemoryError):
        return "too large for the memory: decoding it takes more than there is"
    if isinstance(error, OSError):
        return f"unreadable: {error.strerror or error}"
    return str(error).removeprefix(f"{files.describe_path(path)}: ")


def _file_hash(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(HASH_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _reason(facts: AudioFacts, tally: Tally, min_seconds: float) -> str:
    if tally.nonfinite:
        return f"NaN or infinite samples: {tally.nonfinite} of {tally.frames * facts.channels}; export the file again"
    if facts.duration < min_seconds:
        return f"too short: {math.floor(100 * facts.duration) / 100:.2f} s, at least {min_seconds:g} s are needed"
    if tally.peak < SILENCE:
        return "silent: no sample reaches -60 dBFS"
    if tally.mono_peak < SILENCE:
        return "silent: its two channels cancel in the mono mix"
    return ""


def _warning(facts: AudioFacts, by_container: tuple[str, ...]) -> str:
    warnings = list(by_container)
    if facts.clipped > MAX_CLIPPED:
        warnings.append(f"clipped: {facts.clipped:.2%} of the samples at full scale")
    if facts.silent > MAX_SILENT:
        warnings.append(f"mostly silent: {facts.silent:.0%} of the time")
    return "; ".join(warnings)
