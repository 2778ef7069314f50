"""Ways to damage a recording, each at rising strength: mono float64 [S] -> float64 [S'], the same seed each time."""

from collections.abc import Callable

import numpy as np
import scipy.signal

WOBBLES_A_SECOND = 4.0


def low_passed(audio: np.ndarray, rate: int, hz: float) -> np.ndarray:
    """Without what is above `hz`: a Butterworth filter of order 8, forwards and backwards."""
    return scipy.signal.sosfiltfilt(scipy.signal.butter(8, hz, fs=rate, output="sos"), audio)


def noisy(audio: np.ndarray, rate: int, snr_db: float) -> np.ndarray:
    """With white noise at a ratio of signal to noise over the whole clip."""
    noise = np.random.default_rng(len(audio)).standard_normal(len(audio))
    return audio + noise * np.std(audio) / np.std(noise) * 10 ** (-snr_db / 20)


def wobbling(audio: np.ndarray, rate: int, cents: float) -> np.ndarray:
    """With a pitch that swings `cents` up and down, four times a second, as of a tape that is not round."""
    turns = 2 * np.pi * WOBBLES_A_SECOND
    seconds = np.arange(len(audio)) / rate
    moved = seconds + (2 ** (cents / 1200) - 1) / turns * np.sin(turns * seconds)
    return np.interp(moved, seconds, audio)


def shuffled(audio: np.ndarray, rate: int, segment_seconds: float) -> np.ndarray:
    """With its segments in random order, joined by fades of 10 ms so that no click is heard."""
    size, fade = round(segment_seconds * rate), round(0.01 * rate)
    count = (len(audio) - fade) // size
    ramp = np.sin(np.linspace(0, np.pi / 2, fade)) ** 2
    window = np.concatenate([ramp, np.ones(size - fade), ramp[::-1]])
    found = np.zeros(count * size + fade)
    for place, index in enumerate(np.random.default_rng(len(audio)).permutation(count)):
        found[place * size : (place + 1) * size + fade] += window * audio[index * size : (index + 1) * size + fade]
    return found


def clipped(audio: np.ndarray, rate: int, share: float) -> np.ndarray:
    """Cut off beyond a share of its peak, and as loud as before."""
    limit = share * np.abs(audio).max()
    cut = np.clip(audio, -limit, limit)
    return cut * np.std(audio) / max(np.std(cut), 1e-9)


# Damage -> how it is done, what its strength is in, and its strengths from weak to strong.
DAMAGES: dict[str, tuple[Callable[[np.ndarray, int, float], np.ndarray], str, tuple[float, ...]]] = {
    "low-pass": (low_passed, "Hz", (7000, 5000, 3500, 2000, 1000)),
    "noise": (noisy, "dB SNR", (50, 40, 30, 20, 10)),
    "pitch wobble": (wobbling, "cents", (10, 25, 50, 100, 200)),
    "shuffled segments": (shuffled, "s", (4, 2, 1, 0.5, 0.25)),
    "clipping": (clipped, "of the peak", (0.8, 0.5, 0.25, 0.1, 0.03)),
}
