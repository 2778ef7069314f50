"""Music of a few seconds, another one for each seed, for what listens to it."""

import numpy as np

RATE = 16000  # Hz


def music(seed: int, seconds: float = 20.0) -> np.ndarray:
    """Chords of three tones with overtones, four a second, and some noise: float32 [S]."""
    rng = np.random.default_rng(seed)
    time = np.arange(RATE // 4) / RATE
    chords = []
    for _ in range(round(4 * seconds)):
        pitches = 220 * 2 ** (rng.integers(0, 24, 3) / 12)
        tones = sum(np.sin(2 * np.pi * f * k * time) / k for f in pitches for k in (1, 2, 3))
        chords.append(tones * np.exp(-3 * time) + 0.02 * rng.standard_normal(len(time)))
    return (0.1 * np.concatenate(chords)).astype(np.float32)
