"""Which notes sound in a recording of known timbre, and how well they are those of a score.

Notes are found by a non-negative fit: the magnitude spectrum of every frame is taken for a sum of the spectra that the
synthesizer gives each pitch in that timbre (Smaragdis and Brown 2003, with the spectra known; the divergence and its
multiplicative updates are those of Lee and Seung 2001) and of smooth bands, which take what is noise: without them,
notes that nobody hears would have to explain it. Nothing is trained or downloaded, and what the notes leave over is no
music of theirs: `tone` says how much they explain.
"""

import dataclasses
import functools
import threading

import librosa
import numpy as np

from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import piano_roll
from musicgen_jax.scores.score import Score

FRAMES_PER_SECOND = 20
WINDOW_SECONDS = 0.256  # tells two low neighbours, 65 and 69 Hz, apart
LOWEST, HIGHEST = 36, 88  # MIDI pitches of the templates: four octaves of voices
STEPS = 60  # of the fit; after them no chorale's F1 moves by 0.005 any more
NOISE_BANDS = 32  # as wide as each other on the mel scale, and far wider than a note's partials
THRESHOLD = 0.15  # of the loudest note of a usual frame: what is weaker does not sound
SILENCE = 1e-4  # root mean square of a frame, below which nothing is looked for
_MAKING = threading.Lock()  # of two threads that want the same templates one makes them
_NOTE_SECONDS, _SETTLED = 0.7, (0.2, 0.5)  # of a template's note: its length, and the stretch that is looked at


@dataclasses.dataclass(frozen=True)
class Fit:
    """What a clip is made of.

    Attributes:
      gains: float32 [T, P], of the notes LOWEST to HIGHEST in every frame.
      tone: share of the spectral power that the notes explain, in [0, 1]; 0 where all is silent.
    """

    gains: np.ndarray
    tone: float

    @property
    def sounding(self) -> np.ndarray:
        """Bool [T, P]: the notes that are not far weaker than the loudest one of a usual frame of the clip."""
        loudest = self.gains.max(axis=1, initial=0)
        usual = np.median(loudest[loudest > 0]) if np.any(loudest > 0) else 0.0  # one that blares silences no others
        return self.gains > THRESHOLD * usual


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well the notes of a clip are those of a score, over all frames and pitches."""

    precision: float
    recall: float
    f1: float


def fit(audio: np.ndarray, sample_rate: int, timbre: str) -> Fit:
    """Finds the notes of a clip.

    Args:
      audio: float [S].
      sample_rate: Hz.
      timbre: name of one of the synthesizer's, `timbres.ALL`.

    Raises:
      UserError: there is no such timbre.
    """
    spectra = _spectra(audio, sample_rate)
    with _MAKING:
        shapes = _templates(timbre, sample_rate)  # [P, V, F]
    flat = shapes.reshape(-1, shapes.shape[-1])
    noise = _noise_bands(sample_rate, shapes.shape[-1])
    gains = _non_negative_fit(spectra, np.concatenate([flat, noise]))[:, : len(flat)]
    left = np.sum((spectra - gains @ flat) ** 2, dtype=np.float64)
    power = np.sum(spectra**2, dtype=np.float64)
    tone = float(np.clip(1 - left / power, 0, 1)) if power else 0.0
    return Fit(gains.reshape(len(gains), *shapes.shape[:2]).sum(axis=-1), tone)


def agreement(found: Fit, score: Score) -> Agreement:
    """Compares the notes of a clip, frame by frame, with those of a score that begins where the clip does."""
    half = [0, 0.5 / FRAMES_PER_SECOND, 0, 0, 0]  # a frame of the fit lies around its time, one of a roll behind it
    wanted, _ = piano_roll.planes(score.notes + np.float32(half), len(found.gains), FRAMES_PER_SECOND)
    wanted = wanted[:, LOWEST : HIGHEST + 1]
    heard = found.sounding
    hits = float(np.sum(heard & wanted))
    precision, recall = hits / max(np.sum(heard), 1), hits / max(np.sum(wanted), 1)
    both = np.sum(heard) + np.sum(wanted)
    return Agreement(precision, recall, 2 * hits / both if both else 1.0)


def _non_negative_fit(spectra: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Gains [T, N] >= 0 that bring gains @ shapes, [N, F], near the spectra [T, F] in Kullback-Leibler divergence."""
    gains = np.full((len(spectra), len(shapes)), spectra.mean() + 1e-9, np.float32)
    totals = shapes.sum(axis=1) + 1e-9
    ratios, factors = np.empty_like(spectra), np.empty_like(gains)  # written anew in every step: no memory is asked for
    for _ in range(STEPS):
        np.matmul(gains, shapes, out=ratios)
        ratios += 1e-8
        np.divide(spectra, ratios, out=ratios)
        np.matmul(ratios, shapes.T, out=factors)
        factors /= totals
        gains *= factors
    return gains


def _spectra(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Magnitudes float32 [T, F] around the times t / FRAMES_PER_SECOND seconds; silent frames are 0."""
    n_fft, hop_length = 2 * round(WINDOW_SECONDS * sample_rate / 2), round(sample_rate / FRAMES_PER_SECOND)
    num_frames = -(-len(audio) // hop_length)
    padded = np.pad(np.asarray(audio, np.float32), (n_fft // 2, n_fft // 2 + hop_length))
    magnitudes = np.abs(librosa.stft(padded, n_fft=n_fft, hop_length=hop_length, center=False)).T[:num_frames]
    loud = np.sqrt(np.mean(magnitudes**2, axis=1)) > SILENCE * np.sqrt(n_fft)
    return (magnitudes * loud[:, None]).astype(np.float32)


def _noise_bands(sample_rate: int, num_bins: int) -> np.ndarray:
    """Triangular bands that overlap by half, float32 [N, F] of unit power; N <= NOISE_BANDS that hold a bin."""
    bands = librosa.filters.mel(sr=sample_rate, n_fft=2 * (num_bins - 1), n_mels=NOISE_BANDS, htk=True)
    bands = bands[bands.any(axis=1)]
    return bands / np.linalg.norm(bands, axis=1, keepdims=True)


@functools.lru_cache(maxsize=16)
def _templates(timbre: str, sample_rate: int) -> np.ndarray:
    """Spectra of single notes, float32 [P, V, F] of unit power: of every pitch, in each of V vowels."""
    found = {one.name: one for one in timbres.ALL}
    if timbre not in found:
        raise UserError(f"there is no timbre {timbre!r} to fit notes of; the synthesizer has {', '.join(found)}")
    vowels = found[timbre].vowels
    each = 1 if vowels is None else len(vowels)
    count = (HIGHEST - LOWEST + 1) * each
    onsets = np.arange(count) * _NOTE_SECONDS
    pitches = LOWEST + np.arange(count) // each
    notes = np.stack([pitches, onsets, np.full(count, _NOTE_SECONDS - 0.1), np.full(count, 0.8)], axis=1)
    audio = synthesizer.render(synthesizer.pack([notes]), found[timbre], count * _NOTE_SECONDS, sample_rate)
    spectra = _spectra(audio, sample_rate)
    first, last = (np.round((onsets + offset) * FRAMES_PER_SECOND).astype(int) for offset in _SETTLED)
    shapes = np.stack([spectra[a:b].mean(axis=0) for a, b in zip(first, last, strict=True)])
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    return shapes.reshape(-1, each, shapes.shape[-1])
