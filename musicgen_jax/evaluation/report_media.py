"""Sounds and pictures of the report, compressed for a page, and the players that show them."""

import base64
import dataclasses
import html
import io

import numpy as np
import PIL.Image
import soundfile
import soxr

from musicgen_jax.audio import mel, spectrogram_image
from musicgen_jax.audio.spectrogram_image import MAX_COLUMNS
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import piano_roll
from musicgen_jax.scores.score import DURATION, PITCH, Score

ROLL_ROWS = 4  # of the picture, a pitch
SPECTROGRAM, PIANO_ROLL = "log-mel spectrogram", "piano roll"
# MP3 is what every browser plays, Safari on a phone too; it knows these rates alone. Variable bit rate, 0 is best.
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MP3_LEVEL = 0.3
WEBP_QUALITY = 80
TICKS_HZ = (500, 1000, 2000, 5000, 10000)


@dataclasses.dataclass(frozen=True)
class Clip:
    """One sound in the report.

    Attributes:
      name: what a reader calls it.
      audio: float [S], mono; values beyond [-1, 1] are clipped in the file and the report says how many.
      sample_rate: Hz.
    """

    name: str
    audio: np.ndarray
    sample_rate: int

    def __post_init__(self) -> None:
        if np.ndim(self.audio) != 1 or np.size(self.audio) == 0:
            raise UserError(f"clip {self.name!r} has audio of shape {np.shape(self.audio)}: it must be mono [S], S > 0")
        if not np.all(np.isfinite(self.audio)):
            raise UserError(f"clip {self.name!r} has samples that are not finite: it cannot be played")
        if self.sample_rate <= 0:
            raise UserError(f"clip {self.name!r} has a sample rate of {self.sample_rate} Hz: it must be positive")

    @property
    def seconds(self) -> float:
        return len(self.audio) / self.sample_rate


@dataclasses.dataclass(frozen=True)
class Media:
    """A sound and its picture as a page carries them.

    Attributes:
      name: of the clip.
      seconds: its length.
      kind: SPECTROGRAM or PIANO_ROLL.
      marks: (height in percent, label) at the left edge of the picture.
      num_clipped: samples that were beyond full scale.
      sound: MP3.
      picture: WebP.
    """

    name: str
    seconds: float
    kind: str
    marks: tuple[tuple[float, str], ...]
    num_clipped: int
    sound: bytes
    picture: bytes


def encode(clip: Clip, *, peak: float | None = None, score: Score | None = None) -> Media:
    """A clip with its spectrogram, compressed.

    Args:
      clip: the sound.
      peak: mel magnitude that is drawn brightest, so that several pictures can share one scale; None: the clip's own.
      score: its piano roll is drawn in place of the spectrogram.
    """
    if score is None:
        kind, marks = SPECTROGRAM, _ticks(clip.sample_rate)
        picture = _webp(spectrogram_image.of_audio(clip.audio, clip.sample_rate, peak))
    else:
        kind, marks, picture = PIANO_ROLL, _octaves(score), _webp(_piano_roll(score, clip.seconds), lossless=True)
    num_clipped = int(np.count_nonzero(np.abs(clip.audio) > 1))
    return Media(clip.name, clip.seconds, kind, tuple(marks), num_clipped, _mp3(clip), picture)


def player(media: Media, label: str, *, detail: str = "") -> str:
    """A figure with a picture above an audio player, as HTML.

    Args:
      media: what is seen and heard.
      label: heading of the figure.
      detail: HTML placed below the player.
    """
    name = html.escape(media.name if media.name == label else f"{media.name}, {label}", quote=True)
    warning = f'<p class="warn">{media.num_clipped} samples beyond full scale were clipped.</p>'
    ticks = "".join(
        f'<span style="bottom:{min(max(at, 5), 94):.1f}%">{html.escape(mark)}</span>' for at, mark in media.marks
    )
    # The button takes the place of the browser's own controls where scripts run.
    return (
        f'<figure class="player"><figcaption><button type="button" class="play" aria-label="play {name}" hidden>'
        f'</button><b>{html.escape(label)}</b><span class="time">{media.seconds:.1f} s</span></figcaption>'
        f'<div class="spectrogram" title="click, or press the arrow keys, to jump; space plays" role="slider" '
        f'tabindex="0" aria-label="position in {name}" aria-valuemin="0" aria-valuemax="{media.seconds:.1f}" '
        f'aria-valuenow="0.0" aria-valuetext="0.0 seconds"><img src="{_uri("image/webp", media.picture)}" '
        f'alt="{media.kind} of {name}"><div class="ticks" aria-hidden="true">{ticks}</div>'
        f'<div class="playhead" aria-hidden="true"></div></div>'
        f'<audio controls preload="metadata" aria-label="{name}" data-name="{name}" '
        f'src="{_uri("audio/mpeg", media.sound)}"></audio>'
        f"{warning if media.num_clipped else ''}{detail}</figure>"
    )


def peak_magnitude(clip: Clip) -> float:
    """The largest mel magnitude of a clip, for the shared scale of several spectrograms."""
    return spectrogram_image.peak_magnitude(clip.audio, clip.sample_rate)


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _mp3(clip: Clip) -> bytes:
    """The sound as MP3; a rate that MP3 does not know is raised to the next one that it does."""
    audio, rate = np.clip(np.asarray(clip.audio, np.float64), -1, 1), clip.sample_rate
    if rate not in MP3_RATES:
        rate = next((one for one in MP3_RATES if one > rate), MP3_RATES[-1])
        audio = np.clip(soxr.resample(audio, clip.sample_rate, rate), -1, 1)
    buffer = io.BytesIO()
    settings = {"subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": MP3_LEVEL}
    soundfile.write(buffer, audio, rate, format="MP3", **settings)
    return buffer.getvalue()


def _webp(image: np.ndarray, lossless: bool = False) -> bytes:
    """A picture [rows, columns, 3] without margins. Without loss edges stay sharp."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "WEBP", lossless=lossless, quality=WEBP_QUALITY)
    return buffer.getvalue()


def _piano_roll(score: Score, seconds: float) -> np.ndarray:
    """A row a pitch, MAX_COLUMNS columns: sounding notes are lit, their onsets more so. uint8 [rows, columns, 3]."""
    sounding, _ = piano_roll.planes(score.notes, MAX_COLUMNS, MAX_COLUMNS / seconds)
    begun, _ = piano_roll.planes(_beginnings(score.notes, seconds), MAX_COLUMNS, MAX_COLUMNS / seconds)
    low, high = _compass(score)
    lit = (0.55 * sounding + 0.35 * begun).T[low : high + 1]
    return spectrogram_image.coloured(np.repeat(lit, ROLL_ROWS, axis=0))


def _beginnings(notes: np.ndarray, seconds: float) -> np.ndarray:
    """The first hundredth of the picture of every note [N, 5], or all of it."""
    beginnings = notes.copy()
    beginnings[:, DURATION] = np.minimum(notes[:, DURATION], seconds / 100)
    return beginnings


def _compass(score: Score) -> tuple[int, int]:
    """Lowest and highest pitch of the picture of a score: its own, and two semitones of room."""
    pitches = np.round(score.notes[:, PITCH]).astype(int) if len(score.notes) else np.array([60])
    return max(0, int(pitches.min()) - 2), min(127, int(pitches.max()) + 2)


def _octaves(score: Score) -> list[tuple[float, str]]:
    """(height in percent, name) of every C in the picture of a score."""
    low, high = _compass(score)
    return [
        (100 * (c - low + 0.5) / (high - low + 1), f"C{c // 12 - 1}") for c in range(-(-low // 12) * 12, high + 1, 12)
    ]


def _ticks(sample_rate: int) -> list[tuple[float, str]]:
    """(height in percent, label) of the frequencies that fit below the Nyquist frequency."""
    return [
        (100 * mel.height(hz, sample_rate / 2), f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz")
        for hz in TICKS_HZ
        if hz < 0.45 * sample_rate
    ]
