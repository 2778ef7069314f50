"""Whether music comes back to what was heard, and keeps its key and its tempo: from the waveform alone.

A single figure says little: music modulates and slows down on purpose. Beside the same figure of recordings, and of the
same sounds in random order, it says whether a model's music is organised in time at all.
"""

import functools
from collections.abc import Mapping
from typing import Any

import librosa
import numpy as np

from musicgen_jax.evaluation import bootstrap, parallel, reconstruction

FRAMES_PER_SECOND = 4  # of the chroma
FRAME_FFT_SECONDS = 0.25
PATTERN_FRAMES = 8  # 2 s: what is looked for in what was heard before
SIMILAR = 0.7  # correlation of two patterns from which one is the other again
FLAT = 0.1  # deviation from the mean chroma, of norm 1, below which a pattern is a held sound
KEY_SECONDS, KEY_HOP_SECONDS = 5.0, 2.5  # of the windows whose keys are found
TEMPO_FRAMES_PER_SECOND = 100
TEMPO_SECONDS = 4.0  # of the windows whose tempos are found
TEMPO_TOLERANCE = 0.08  # within which a tempo is the same (MIREX)
USUAL_BPM = 120.0
# Krumhansl and Kessler 1982: how well each pitch class fits C major and C minor.
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_NOTES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
KEYS = tuple(f"{note} {mode}" for mode in ("major", "minor") for note in _NOTES)
# The measures that stand for those found with them -> why they may be absent.
MEASURES = {
    "repetition": "every clip is silent, or shorter than 4.25 s",
    "key_stability": "every clip is silent, or shorter than 7.5 s",
    "tempo_stability": "no clip of 4 s or more has onsets",
}


def measure(audio: np.ndarray, sample_rate: int) -> dict[str, float]:
    """The measures of one clip.

    Args:
      audio: float [S], finite.
      sample_rate: Hz.

    Returns:
      As far as the clip is long enough and not silent (see MEASURES):
        recurrence: see `recurrence`; recurrence_shuffled: of the same frames in random order, what comes back by
          chance; repetition: the difference of the two.
        key_stability: see `key_stability`.
        tempo_stability, tempo_bpm: see `tempo_stability`.
    """
    audio = np.asarray(audio, np.float32)
    if np.std(audio, dtype=np.float64) < reconstruction.SILENCE_RMS:
        return {}
    frames, found = chroma(audio, sample_rate), {}
    if len(frames) > 2 * PATTERN_FRAMES:
        shuffled = np.random.default_rng(0).permutation(frames)
        found = {"recurrence": recurrence(frames), "recurrence_shuffled": recurrence(shuffled)}
        found["repetition"] = found["recurrence"] - found["recurrence_shuffled"]
    if len(keys := local_keys(frames)) > 1:
        found["key_stability"] = key_stability(keys)
    if len(audio) >= TEMPO_SECONDS * sample_rate and len(tempos := local_tempos(audio, sample_rate)):
        found["tempo_stability"], found["tempo_bpm"] = tempo_stability(tempos)
    return found


def of_clips(clips: Mapping[str, np.ndarray], sample_rate: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The measures of each of several clips, with means and intervals, see `bootstrap.of_tracks`.

    Args:
      clips: name -> float [S], finite; looked at one after the other.
      sample_rate: Hz.

    Returns:
      Beside that of all, "num_clips", and `clip_seconds`, their mean length; and measure -> why no clip has it.
    """

    def measured(clip: tuple[str, np.ndarray]) -> tuple[dict[str, Any], float]:
        name, audio = clip
        return {bootstrap.TRACK: name} | measure(audio, sample_rate), len(audio) / sample_rate

    rows, lengths = zip(*parallel.ordered(measured, clips.items()), strict=True)
    found = {"num_clips": len(rows), "clip_seconds": float(np.mean(lengths))} | bootstrap.of_tracks(rows)
    return found, {name: why for name, why in MEASURES.items() if name not in found["intervals"]}


def chroma(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Share of the twelve pitch classes in the magnitude spectrum, FRAMES_PER_SECOND: float32 [T, 12] of norm 1, zeros
    in silence. Frames do not reach beyond the clip's end."""
    n_fft = 2 ** round(np.log2(FRAME_FFT_SECONDS * sample_rate))
    hop = round(sample_rate / FRAMES_PER_SECOND)
    padded = np.pad(audio, (0, max(0, n_fft - len(audio))))
    magnitudes = np.abs(librosa.stft(padded, n_fft=n_fft, hop_length=hop, center=False))
    classes = (_chroma_filters(sample_rate, n_fft) @ magnitudes).T
    norms = np.linalg.norm(classes, axis=1, keepdims=True)
    return np.where(norms > reconstruction.SILENCE_RMS * n_fft, classes / np.maximum(norms, 1e-9), 0).astype(np.float32)


def recurrence(frames: np.ndarray) -> float:
    """How much of a clip was heard before in it: the share of its patterns, all but the first, that come again.

    A pattern is PATTERN_FRAMES frames of chroma in a row, less the clip's mean chroma, so that the key they share makes
    no two alike. One comes again where it correlates by SIMILAR or more with one that ended before it began: what the
    self-similarity lag matrix (Goto 2003) has at lags of a pattern or more. Held sounds, which do not move away from
    the mean, are no patterns that could come again.

    Args:
      frames: chroma [T, 12], T > 2 * PATTERN_FRAMES.
    """
    sounding = np.any(frames > 0, axis=1)
    centred = np.where(sounding[:, None], frames - frames[sounding].mean(axis=0), 0)
    patterns = np.lib.stride_tricks.sliding_window_view(centred, PATTERN_FRAMES, axis=0).reshape(
        len(frames) - PATTERN_FRAMES + 1, -1
    )
    norms = np.linalg.norm(patterns, axis=1, keepdims=True)
    moving = norms > FLAT * np.sqrt(PATTERN_FRAMES)
    patterns = np.where(moving, patterns / np.maximum(norms, 1e-9), 0)
    similar = np.tril(patterns @ patterns.T, -PATTERN_FRAMES) >= SIMILAR
    return float(np.mean(similar.any(axis=1)[PATTERN_FRAMES:]))


def local_keys(frames: np.ndarray) -> list[str]:
    """The key of each window of KEY_SECONDS of chroma [T, 12] that is not silent: the one of `KEYS` whose profile
    (Krumhansl and Kessler 1982) correlates best."""
    length, hop = round(KEY_SECONDS * FRAMES_PER_SECOND), round(KEY_HOP_SECONDS * FRAMES_PER_SECOND)
    windows = [frames[start : start + length].mean(axis=0) for start in range(0, len(frames) - length + 1, hop)]
    profiles = np.stack([np.roll(profile, shift) for profile in (_MAJOR, _MINOR) for shift in range(12)])
    return [KEYS[_best(profiles, window)] for window in windows if window.any()]


def key_stability(keys: list[str]) -> float:
    """How near the keys of a clip's windows are to the one that most of them have, on average over the windows.

    Nearness is MIREX's: 1 for the key, 0.5 for one a fifth above, 0.3 for the relative, 0.2 for the parallel key, 0
    for others.
    Of keys that are equally frequent the one counts to which all are nearest.
    """
    import mir_eval.key

    most = max(map(keys.count, keys))
    scores = {
        one: np.mean([mir_eval.key.weighted_score(one, other) for other in keys])
        for one in dict.fromkeys(keys)
        if keys.count(one) == most
    }
    return float(max(scores.values()))


def local_tempos(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Beats a minute every half second, each of a window of TEMPO_SECONDS within the clip, float64 [N]; none where
    nothing begins.

    The strongest period of the onset strength's autocorrelation, weighted towards 120 a minute (Ellis 2007).
    """
    hop = round(sample_rate / TEMPO_FRAMES_PER_SECOND)
    n_fft = 2 ** round(np.log2(0.064 * sample_rate))
    onsets = librosa.onset.onset_strength(y=audio, sr=sample_rate, hop_length=hop, n_fft=n_fft, n_mels=32)
    length = round(TEMPO_SECONDS * sample_rate / hop)
    if not onsets.any() or len(onsets) < length:
        return np.zeros(0)
    windows = np.lib.stride_tricks.sliding_window_view(onsets, length)[:: TEMPO_FRAMES_PER_SECOND // 2]
    windows = windows - windows.mean(axis=1, keepdims=True)
    correlation = librosa.autocorrelate(windows * np.hanning(length), axis=1)
    bpm = librosa.tempo_frequencies(length, sr=sample_rate, hop_length=hop)  # of each lag; infinite for lag 0
    prior = np.exp(-0.5 * np.square(np.log2(bpm[1:] / USUAL_BPM)))
    weighted = np.maximum(correlation[:, 1:], 0) * prior
    return bpm[1:][weighted.argmax(axis=1)][weighted.any(axis=1)]


def tempo_stability(tempos: np.ndarray) -> tuple[float, float]:
    """(the largest share of a clip's tempos [N] that lie within 8 % of one of them, that tempo).

    Twice or half as fast is the same tempo: where beats are halved is a matter of taste.
    """
    ratios = np.log2(tempos[:, None] / tempos[None])
    near = np.abs(ratios - np.round(ratios)) <= np.log2(1 + TEMPO_TOLERANCE)
    shares = near.mean(axis=0)
    return float(shares.max()), float(tempos[shares.argmax()])


def _best(profiles: np.ndarray, window: np.ndarray) -> int:
    centred = profiles - profiles.mean(axis=1, keepdims=True)
    return int(np.argmax(centred @ (window - window.mean()) / np.linalg.norm(centred, axis=1)))


@functools.lru_cache(maxsize=8)
def _chroma_filters(sample_rate: int, n_fft: int) -> np.ndarray:
    """float32 [12, F], C first."""
    return librosa.filters.chroma(sr=sample_rate, n_fft=n_fft).astype(np.float32)
