"""The acoustic fingerprint: what it knows again, and what it tells apart."""

import numpy as np
import soxr
from tiny_music import RATE, music

from musicgen_jax.data import audio_fingerprint, near_duplicates


def sketch(audio: np.ndarray, rate: int = RATE, block: int = 40000) -> np.ndarray | None:
    made = audio_fingerprint.Fingerprint(rate)
    for start in range(0, len(audio), block):
        made.add(audio[start : start + block])
    return made.sketch()


def test_blocks_change_nothing():
    audio = music(0, 12.0)
    np.testing.assert_array_equal(sketch(audio), sketch(audio, block=len(audio)))
    np.testing.assert_array_equal(sketch(audio), sketch(audio, block=777))


def test_a_recording_is_known_again():
    audio = music(0)
    original = sketch(audio)
    versions = {
        "quiet": sketch(audio * np.float32(0.2)),
        "later": sketch(audio[round(1.234 * RATE) :]),
        "slower rate": sketch(soxr.resample(audio, RATE, 11025), 11025),
        "half": sketch(audio[len(audio) // 2 :]),
        "coarse": sketch(np.round(audio * 64).astype(np.float32) / 64),
    }
    for name, version in versions.items():
        assert audio_fingerprint.alike(original, version), (name, near_duplicates.agreement(original, version))


def test_others_are_told_apart():
    found = [sketch(music(seed)) for seed in range(6)]
    pairs = [near_duplicates.agreement(a, b) for i, a in enumerate(found) for b in found[:i]]
    assert max(pairs) < audio_fingerprint.MIN_AGREEMENT / 2


def test_what_has_no_fingerprint():
    assert sketch(np.zeros(10 * RATE, np.float32)) is None
    assert sketch(music(0)[:2000]) is None
    noise = 1e-6 * np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32)
    assert sketch(noise) is None
    assert not audio_fingerprint.alike(None, None)
