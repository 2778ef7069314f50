"""Every fault is found where it was put, and nowhere else."""

import numpy as np
import pytest

from musicgen_jax.audio import signal_checks

SAMPLE_RATE = 16000


def tone(hertz: float = 440.0, amplitude: float = 0.5, seconds: float = 1.0, phase: float = 0.0) -> np.ndarray:
    """A sine that fades in and out within 200 ms."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    fade = np.clip(np.minimum(times, seconds - times) / 0.2, 0, 1)
    return amplitude * fade * np.sin(2 * np.pi * hertz * times + phase)


FAULTS = {
    "": tone(),
    "clipped,true_peak": np.clip(tone(amplitude=3.0), -1, 1),
    "dc_offset": tone(amplitude=0.1) + tone(hertz=0.0, amplitude=0.02, phase=np.pi / 2),
    "silent": np.concatenate([tone(), np.zeros(2 * SAMPLE_RATE)]),
    "truncated_end": tone()[: SAMPLE_RATE // 2],
}


def test_what_should_sound_at_the_end_is_no_fault():
    """An end 10 dB below the whole: a fault only where a rest was promised."""
    audio = tone()[: round(0.95 * SAMPLE_RATE)]
    found = {known: signal_checks.check(audio, SAMPLE_RATE, known) for known in (None, True, False)}
    assert signal_checks.END_DB < found[None].end_db < signal_checks.LOUD_END_DB
    assert {known: one.flags for known, one in found.items()} == {None: (), True: (), False: ("truncated_end",)}
    loud = tone()[: SAMPLE_RATE // 2]
    assert signal_checks.check(loud, SAMPLE_RATE, True).flags == ()


def test_flags_are_told_in_words():
    assert signal_checks.describe(("truncated_end", "silent")) == "its end is cut off, most of it is silence"
    assert signal_checks.describe(("hiss",)) == "hiss"


@pytest.mark.parametrize("flags", FAULTS)
def test_fault_is_named(flags: str):
    assert ",".join(signal_checks.check(FAULTS[flags], SAMPLE_RATE).flags) == flags


def test_true_peak_lies_between_the_samples():
    """A sine of a quarter of the rate whose samples all lie 45 degrees from its tops: 3.01 dB below them."""
    times = np.arange(SAMPLE_RATE)
    audio = 0.9 * np.sin(np.pi / 2 * times + np.pi / 4) * np.hanning(SAMPLE_RATE)
    found = signal_checks.check(audio, SAMPLE_RATE)
    assert found.peak_db == pytest.approx(20 * np.log10(0.9) - 3.01, abs=0.01)
    assert found.true_peak_db == pytest.approx(20 * np.log10(0.9), abs=0.05)


def test_blocks_make_no_difference(monkeypatch):
    audio = np.random.default_rng(0).normal(0, 0.1, 5000)
    whole = signal_checks.check(audio, SAMPLE_RATE)
    monkeypatch.setattr(signal_checks, "_BLOCK", 700)
    assert signal_checks.check(audio, SAMPLE_RATE).true_peak_db == pytest.approx(whole.true_peak_db, abs=1e-9)


def test_one_sample_at_full_scale_is_no_clipping():
    audio = tone(amplitude=0.1)
    audio[8000] = 1.0
    assert signal_checks.check(audio, SAMPLE_RATE).clipped_samples == 0
    audio[8000:8003] = -1.0
    assert signal_checks.check(audio, SAMPLE_RATE).clipped_samples == 3


@pytest.mark.parametrize("audio", [np.zeros(0), np.zeros(100)])
def test_silence_has_no_levels(audio: np.ndarray):
    found = signal_checks.check(audio, SAMPLE_RATE)
    assert (found.peak_db, found.true_peak_db, found.end_db) == (None, None, None)
    assert found.flags == ("silent",)
