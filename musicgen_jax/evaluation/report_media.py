"""Sound and spectrograms of the report, as HTML that carries its data inside."""

import base64
import dataclasses
import html
import io

import matplotlib.image
import numpy as np
import soundfile

from musicgen_jax.audio import mel
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import piano_roll
from musicgen_jax.scores.score import DURATION, PITCH, Score

N_FFT, NUM_MELS, MAX_COLUMNS = 2048, 96, 900
ROLL_ROWS = 4  # of the picture, a pitch
RANGE_DB = 80.0
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


def player(clip: Clip, label: str, *, peak: float | None = None, detail: str = "", score: Score | None = None) -> str:
    """A figure with the clip's spectrogram above an audio player, as HTML.

    Args:
      clip: the sound, embedded as 16-bit wav.
      label: heading of the figure.
      peak: mel magnitude that is drawn brightest, so that several figures can share one scale; None: the clip's own.
      detail: HTML placed below the player.
      score: its piano roll is drawn in place of the spectrogram.
    """
    name = html.escape(clip.name if clip.name == label else f"{clip.name}, {label}", quote=True)
    clipped = int(np.count_nonzero(np.abs(clip.audio) > 1))
    warning = f'<p class="warn">{clipped} samples beyond full scale were clipped.</p>' if clipped else ""
    marks = _ticks(clip.sample_rate) if score is None else _octaves(score)
    ticks = "".join(f'<span style="bottom:{position:.1f}%">{mark}</span>' for position, mark in marks)
    kind, picture = "log-mel spectrogram", _spectrogram(clip, peak)
    if score is not None:
        kind, picture = "piano roll", _piano_roll(score, clip.seconds)
    return (
        f'<figure class="player"><figcaption>{html.escape(label)}<span>{clip.seconds:.1f} s</span></figcaption>'
        f'<div class="spectrogram" title="click, or press the arrow keys, to jump" role="slider" tabindex="0" '
        f'aria-label="position in {name}" aria-valuemin="0" aria-valuemax="{clip.seconds:.1f}" aria-valuenow="0.0" '
        f'aria-valuetext="0.0 seconds"><img src="{_picture_uri(picture)}" '
        f'alt="{kind} of {name}"><div class="ticks" aria-hidden="true">{ticks}</div>'
        f'<div class="playhead" aria-hidden="true"></div></div>'
        f'<audio controls preload="metadata" aria-label="{name}" data-name="{name}" src="{_wav_uri(clip)}"></audio>'
        f"{warning}{detail}</figure>"
    )


def peak_magnitude(clip: Clip) -> float:
    """The largest mel magnitude of a clip, for the shared scale of several spectrograms."""
    return float(np.exp(_log_mel(clip).max()))


def _wav_uri(clip: Clip) -> str:
    buffer = io.BytesIO()
    samples = np.round(np.clip(np.asarray(clip.audio, np.float64), -1, 1) * 32767).astype(np.int16)
    soundfile.write(buffer, samples, clip.sample_rate, format="WAV", subtype="PCM_16")
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _picture_uri(image: np.ndarray) -> str:
    """A picture without margins: [rows, columns] from the bottom up, 0 is black and 1 is brightest."""
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, image, cmap="magma", vmin=0, vmax=1, origin="lower", format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _piano_roll(score: Score, seconds: float) -> np.ndarray:
    """One row a pitch, MAX_COLUMNS columns: sounding notes are lit, their onsets more so. [rows, columns]."""
    sounding, _ = piano_roll.planes(score.notes, MAX_COLUMNS, MAX_COLUMNS / seconds)
    begun, _ = piano_roll.planes(_beginnings(score.notes, seconds), MAX_COLUMNS, MAX_COLUMNS / seconds)
    low, high = _compass(score)
    return np.repeat((0.55 * sounding + 0.35 * begun).T[low : high + 1], ROLL_ROWS, axis=0)


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


def _spectrogram(clip: Clip, peak: float | None) -> np.ndarray:
    """One row a mel band, one column a frame, brightest at `peak`, 80 dB down to black; [rows, columns]."""
    decibels = 20 / np.log(10) * _log_mel(clip)
    # A silent clip has no peak of its own; the floor of the log-mel then is the reference and the picture stays dark.
    top = decibels.max() if peak is None else 20 * np.log10(max(peak, 1e-5))
    if decibels.max() <= -99:
        top = 0.0
    return np.clip((decibels - top) / RANGE_DB + 1, 0, 1).T


def _log_mel(clip: Clip) -> np.ndarray:
    """Log-mel [T, M]; the hop grows with the clip so that the picture never has more than MAX_COLUMNS columns."""
    hop_length = max(256, -(-len(clip.audio) // MAX_COLUMNS))
    return np.asarray(
        mel.log_mel(
            np.asarray(clip.audio, np.float32),
            sample_rate=clip.sample_rate,
            n_fft=N_FFT,
            hop_length=hop_length,
            window_length=N_FFT,
            num_mels=NUM_MELS,
        )
    )


def _ticks(sample_rate: int) -> list[tuple[float, str]]:
    """(height in percent, label) of the frequencies that fit below the Nyquist frequency."""
    return [
        (100 * mel.height(hz, sample_rate / 2), f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz")
        for hz in TICKS_HZ
        if hz < 0.45 * sample_rate
    ]
