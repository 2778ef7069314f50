"""Chroma: how loud each of the twelve pitch classes is, octaves together (Ellis 2007, "Chroma feature analysis")."""

import numpy as np

PITCH_CLASSES = 12  # C first
N_FFT, HOP_LENGTH = 16_384, 4096  # samples; MusicGen's melodies (Copet et al. 2023) have frames like these
_LOWEST = 440.0 / 16  # Hz of the A in which octaves are counted from 0 on
_CENTER, _SPREAD = 5.0, 2.0  # octaves: where bins count most, and the standard deviation of their weights


def filter_bank(sample_rate: int, n_fft: int = N_FFT) -> np.ndarray:
    """Weight of every frequency bin in every pitch class, float32 [12, n_fft // 2 + 1].

    A bin belongs to the pitch classes around its frequency by a Gaussian of one semitone, or of the bin's own width
    where that is more; its weights have length 1, and bins count less with their distance from the middle octave.
    """
    frequencies = np.arange(1, n_fft) * sample_rate / n_fft
    semitones = PITCH_CLASSES * np.log2(frequencies / _LOWEST)
    semitones = np.concatenate([semitones[:1] - 1.5 * PITCH_CLASSES, semitones])  # of 0 Hz, which has no pitch
    widths = np.append(np.maximum(np.diff(semitones), 1.0), 1.0)
    away = semitones - np.arange(PITCH_CLASSES)[:, None]
    away = (away + PITCH_CLASSES / 2) % PITCH_CLASSES - PITCH_CLASSES / 2  # the nearest octave's
    weights = np.exp(-0.5 * (2 * away / widths) ** 2)
    weights /= np.linalg.norm(weights, axis=0)
    weights *= np.exp(-0.5 * ((semitones / PITCH_CLASSES - _CENTER) / _SPREAD) ** 2)
    return np.roll(weights, -3, axis=0)[:, : n_fft // 2 + 1].astype(np.float32)  # counted from C on, not from A


def loudest_classes(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """The loudest pitch class of each frame: float32 [S] -> int32 [1 + S // HOP_LENGTH], 0 is C.

    Audio that is shorter than a frame is centred in one; what frames see beyond the ends is the audio mirrored.
    """
    if len(audio) < N_FFT:
        missing = N_FFT - len(audio)
        audio = np.pad(audio, (missing // 2, missing - missing // 2))
    padded = np.pad(audio, N_FFT // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    bank, found = filter_bank(sample_rate), []
    for start in range(0, len(padded) - N_FFT + 1, HOP_LENGTH):
        spectrum = np.fft.rfft(padded[start : start + N_FFT] * window)
        found.append(np.argmax(bank @ (np.abs(spectrum) ** 2)))
    return np.array(found, np.int32)
