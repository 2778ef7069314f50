"""Is a listener on headphones? Three tones, of which one is quieter and another one in antiphase.

Woods, Siegel, Traer and McDermott, "Headphone screening to facilitate web-based auditory experiments" (2017): through
headphones the quieter tone is the quietest; through loudspeakers the two channels of the one in antiphase cancel in the
air, and it is.
"""

import itertools

import numpy as np

HERTZ = 200.0  # long waves: they cancel wherever the listener sits
TONE_SECONDS, GAP_SECONDS, RAMP_SECONDS = 1.0, 0.5, 0.1
LEVEL, QUIETER_DB = 0.1, -6.0
ORDERS = tuple(itertools.permutations(range(3), 2))  # (which is quieter, which is in antiphase)
NEEDED = 5  # right answers of the six


def tones(quieter: int, antiphase: int, sample_rate: int) -> np.ndarray:
    """float64 [S, 2]: the three tones, one after the other."""
    time = np.arange(round(TONE_SECONDS * sample_rate)) / sample_rate
    ramp = np.clip(np.minimum(time, time[::-1]) / RAMP_SECONDS, 0, 1)
    tone = LEVEL * np.sin(2 * np.pi * HERTZ * time) * np.sin(np.pi / 2 * ramp) ** 2
    gap = np.zeros((round(GAP_SECONDS * sample_rate), 2))
    parts = []
    for place in range(3):
        left = tone * (10 ** (QUIETER_DB / 20) if place == quieter else 1)
        parts += [np.stack([left, -left if place == antiphase else left], axis=1), gap]
    return np.concatenate(parts[:-1])
