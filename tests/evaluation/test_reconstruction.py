"""Measures of reconstructions that differ from their recording in one known way."""

import json

import numpy as np
import pytest
from test_fundamental_frequency import tone

from musicgen_jax.evaluation import reconstruction

RATE = 16_000
RNG = np.random.default_rng(0)
NOISE = RNG.standard_normal(16_000).astype(np.float32) * 0.1


def compared(reference: np.ndarray, other: np.ndarray, rate: int = RATE) -> dict[str, float]:
    return reconstruction.compare(reference, [other], rate)[0]


def summary(*pairs: tuple[np.ndarray, np.ndarray]) -> dict:
    return reconstruction.summarize([{"track": str(index)} | compared(*pair) for index, pair in enumerate(pairs)])


def test_si_sdr_of_known_mixtures():
    source = np.sin(np.arange(8000) * 2 * np.pi / 100)
    noise = np.cos(np.arange(8000) * 2 * np.pi / 100)
    assert reconstruction.si_sdr_db(source, source + 0.1 * noise) == pytest.approx(20.0, abs=1e-6)
    # Neither scale nor offset counts.
    assert reconstruction.si_sdr_db(source + 3, 0.2 * (source + 0.1 * noise) - 1) == pytest.approx(20.0, abs=1e-6)
    assert reconstruction.si_sdr_db(source, 2 * source) == pytest.approx(120.0)
    assert reconstruction.si_sdr_db(source, noise) < -100
    assert reconstruction.si_sdr_db(source, np.zeros(8000)) == -120.0
    assert reconstruction.si_sdr_db(np.zeros(8000), source) == -120.0


@pytest.mark.parametrize("snr_db", [0, 10, 30])
def test_si_sdr_is_the_ratio_of_signal_to_noise(snr_db):
    noise = RNG.standard_normal(len(NOISE)) * np.std(NOISE) * 10 ** (-snr_db / 20)
    assert compared(NOISE, NOISE + noise.astype(np.float32))["si_sdr_db"] == pytest.approx(snr_db, abs=0.3)


@pytest.mark.parametrize("gain", [2.0, 0.5, 0.1])
def test_a_gain_is_the_error_of_the_loudness_and_none_of_the_pitch(gain):
    melody = tone(np.repeat([220.0, 330.0], 8000), RATE, 1.0)
    found = compared(melody, gain * melody)
    assert found["loudness_error_db"] == pytest.approx(abs(20 * np.log10(gain)), abs=1e-3)
    assert found["f0_error_semitones"] == pytest.approx(0, abs=1e-4) and found["f0_voicing_recall"] == 1


@pytest.mark.parametrize("semitones", [-5, 1, 12])
def test_a_transposition_is_the_error_of_the_pitch(semitones):
    hertz = np.repeat([220.0, 261.63, 330.0], 8000)
    found = compared(tone(hertz, RATE, 1.5), tone(hertz * 2 ** (semitones / 12), RATE, 1.5))
    assert found["f0_error_semitones"] == pytest.approx(abs(semitones), abs=0.2)
    assert found["f0_voicing_recall"] > 0.9


def test_a_pitch_that_is_lost_is_seen_by_the_recall():
    melody = tone(220.0, RATE, 1.0)
    half = np.where(np.arange(RATE) < RATE / 2, melody, NOISE)
    assert compared(melody, half)["f0_voicing_recall"] == pytest.approx(0.5, abs=0.06)
    lost = compared(melody, NOISE)
    assert lost["f0_voicing_recall"] == 0 and "f0_error_semitones" not in lost
    assert not {"f0_voicing_recall", "f0_error_semitones"} & compared(NOISE, melody).keys()


def test_loudness_counts_where_the_recording_sounds():
    """Noise that fills its rests is not heard in it, a rest that replaces sound is: down to the gate."""
    quiet = np.concatenate([NOISE, np.zeros_like(NOISE)])
    assert compared(quiet, np.concatenate([NOISE, NOISE]))["loudness_error_db"] < 2
    assert compared(NOISE, np.zeros_like(NOISE))["loudness_error_db"] == pytest.approx(70 - 20, abs=5)
    assert "loudness_error_db" not in compared(NOISE[:4000], NOISE[:4000], rate=4000)


def test_the_mean_ratio_is_taken_before_decibels_and_silence_is_counted():
    pairs = [(NOISE[:3000], 0.9 * NOISE[:3000]), (NOISE[:7001], 0.5 * NOISE[:7001])]
    quiet = summary(*pairs)
    assert quiet["spectral_convergence_db"] == pytest.approx(20 * np.log10((0.1 + 0.5) / 2), abs=1e-3)
    assert quiet["si_sdr_db"] == pytest.approx(120.0)
    tracks = [row["spectral_convergence_db"] for row in quiet["tracks"]]
    assert tracks == pytest.approx([-20, 20 * np.log10(0.5)], abs=1e-3)
    interval = quiet["intervals"]["spectral_convergence_db"]
    assert interval["mean"] == quiet["spectral_convergence_db"]
    assert (interval["low"], interval["high"]) == pytest.approx(tracks)
    result = summary(*pairs, (np.zeros(5000), NOISE[:5000]))
    assert (result["num_clips"], result["num_silent_clips"]) == (3, 1)
    assert result["spectral_convergence_db"] == quiet["spectral_convergence_db"]
    # Sound made out of silence is not forgotten: it counts in the distances that are no ratios.
    assert result["multiscale_spectral_mse"] > 2 * quiet["multiscale_spectral_mse"]
    assert result["log_spectral_distance_db"] > 2 * quiet["log_spectral_distance_db"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_perfect_reconstruction_stays_finite():
    found = summary((NOISE[:3000], NOISE[:3000]))
    assert found["spectral_convergence_db"] == pytest.approx(-120.0)
    assert (found["multiscale_spectral_mse"], found["multiscale_mel_db"], found["log_spectral_distance_db"]) == (
        0,
        0,
        0,
    )
    assert found["si_sdr_db"] == 120.0
    one = found["intervals"]["si_sdr_db"]
    assert one == {"mean": 120.0, "low": None, "high": None, "num_pieces": 1}


def test_of_nothing_but_silence_there_are_no_ratios():
    found = summary(*[(np.zeros(100), np.full(100, 0.1))] * 2)
    lacking = {"spectral_convergence_db", "si_sdr_db", "f0_error_semitones", "f0_voicing_recall", "loudness_error_db"}
    assert reconstruction.MEASURES.keys() - found.keys() == lacking
    assert found["multiscale_spectral_mse"] > 0 and (found["num_clips"], found["num_silent_clips"]) == (2, 2)


def test_of_no_track_there_is_nothing():
    assert reconstruction.summarize([]) == {"num_clips": 0, "num_silent_clips": 0, "intervals": {}, "tracks": []}


@pytest.mark.parametrize(
    ("reference", "other", "message"),
    [
        (np.zeros(10), np.zeros(11), "same length"),
        (np.zeros((2, 10)), np.zeros((2, 10)), "mono"),
        (np.zeros(0), np.zeros(0), "same length"),
        (np.zeros(10), np.array([0.0] * 9 + [np.nan]), "reconstruction has 1 samples that are not finite"),
    ],
)
def test_clips_that_cannot_be_compared_are_refused(reference, other, message):
    with pytest.raises(ValueError, match=message):
        compared(reference, other)
