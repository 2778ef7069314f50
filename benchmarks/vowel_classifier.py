"""Which of five vowels is sung: linear discriminant analysis of the mean log-mel spectrum of a syllable."""

import dataclasses

import numpy as np

from musicgen_jax.audio import mel

N_FFT, HOP, BANDS = 512, 128, 32
MIDDLE = (0.3, 0.9)  # of a syllable: behind its attack and the sound of the one before it
FLOOR = 1e-4
SHRINKAGE = 0.02  # of the covariance, towards a multiple of the identity


@dataclasses.dataclass(frozen=True)
class Syllable:
    """One note of a recording, `audio` float32 [S], that begins and ends at these seconds."""

    audio: np.ndarray
    sample_rate: int
    start: float
    stop: float

    def features(self) -> np.ndarray:
        """Mean log-mel spectrum of its middle, float64 [BANDS], its mean subtracted: how loud it is tells nothing."""
        length = self.stop - self.start
        first, last = (round((self.start + share * length) * self.sample_rate) for share in MIDDLE)
        part = self.audio[first:last].astype(np.float64)
        part = np.pad(part, (0, max(N_FFT - len(part), 0)))
        frames = np.lib.stride_tricks.sliding_window_view(part, N_FFT)[::HOP] * np.hanning(N_FFT)
        power = (np.abs(np.fft.rfft(frames)) ** 2).mean(axis=0)
        logs = np.log(power @ mel.filterbank(self.sample_rate, N_FFT, BANDS) + FLOOR)
        return logs - logs.mean()


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Linear functions of the features, one a vowel: the largest wins.

    Attributes:
      vowels: their names.
      slopes: float64 [V, BANDS].
      offsets: float64 [V].
    """

    vowels: str
    slopes: np.ndarray
    offsets: np.ndarray

    def vowel(self, syllable: Syllable) -> str:
        """The vowel that is heard."""
        return self.vowels[int(np.argmax(self.slopes @ syllable.features() + self.offsets))]

    def accuracy(self, syllables: list[Syllable], vowels: str) -> float:
        """Share of the syllables that are heard as these vowels say."""
        return float(np.mean([self.vowel(one) == vowel for one, vowel in zip(syllables, vowels, strict=True)]))


def fit(syllables: list[Syllable], vowels: str) -> Classifier:
    """The classifier of these examples, each of which sings its vowel; Fisher's, with equal priors."""
    features = np.stack([one.features() for one in syllables])
    names = "".join(sorted(set(vowels)))
    labels = np.array([names.index(vowel) for vowel in vowels])
    means = np.stack([features[labels == label].mean(axis=0) for label in range(len(names))])
    spread = features - means[labels]
    covariance = spread.T @ spread / len(spread)
    covariance += SHRINKAGE * np.trace(covariance) / BANDS * np.eye(BANDS)
    slopes = np.linalg.solve(covariance, means.T).T
    return Classifier(names, slopes, -0.5 * (slopes * means).sum(axis=1))
