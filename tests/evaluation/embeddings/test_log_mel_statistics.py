import pathlib

import numpy as np
import pytest
import soundfile

from musicgen_jax.evaluation import frechet_distance
from musicgen_jax.evaluation.embeddings import log_mel_statistics

EMBEDDING = log_mel_statistics.LogMelStatistics()
RECORDINGS = pathlib.Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "recordings"


def _tone(sample_rate, seconds, hz=440.0):
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(int(sample_rate * seconds)) / sample_rate).astype(np.float32)


def test_one_frame_every_half_second():
    for seconds, frames in [(1.0, 1), (1.49, 1), (1.5, 2), (20.0, 39)]:
        for rate in (16_000, 22_050, 11_025):
            tone = np.zeros(round(seconds * rate), np.float32)
            assert EMBEDDING.embed(tone, rate).shape == (frames, 128)


def test_a_frame_is_independent_of_its_neighbours():
    noise = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) * 0.1
    together = EMBEDDING.embed(noise, 16_000)
    alone = EMBEDDING.embed(noise[16_000:32_000], 16_000)
    np.testing.assert_allclose(together[2], alone[0], atol=1e-5)


def test_a_steady_tone_has_its_band_and_no_deviation():
    frame = EMBEDDING.embed(_tone(16_000, 1.0, hz=1000.0), 16_000)[0]
    means, deviations = frame[:64], frame[64:]
    # 64 Slaney bands up to 8 kHz: 15 mel at 1 kHz of 45.2 in all, so band 0.332 * 65 - 1.
    assert abs(int(np.argmax(means)) - 20.6) <= 1
    assert deviations[np.argmax(means)] < 1e-3


def test_sample_rate_does_not_matter_much():
    at_16k = EMBEDDING.embed(_tone(16_000, 3.0), 16_000)
    at_44k = EMBEDDING.embed(_tone(44_100, 3.0), 44_100)
    assert at_16k.shape == at_44k.shape
    np.testing.assert_allclose(at_44k[1:-1, :40], at_16k[1:-1, :40], atol=0.1)


def test_silence_is_finite():
    frame = EMBEDDING.embed(np.zeros(16_000), 16_000)
    np.testing.assert_allclose(frame[:, :64], np.log(1e-4), rtol=1e-5)
    np.testing.assert_allclose(frame[:, 64:], 0, atol=1e-4)


def test_the_distance_ranks_music_before_noise():
    if not RECORDINGS.is_dir():
        pytest.skip("needs the real recordings, which are not beside this checkout")
    halves = []
    for start in (2, 13):
        sets = []
        for path in sorted(RECORDINGS.glob("*.ogg")):
            rate = soundfile.info(path).samplerate
            audio, _ = soundfile.read(path, start=start * rate, frames=10 * rate, dtype="float32", always_2d=True)
            sets.append(EMBEDDING.embed(audio.mean(axis=1), rate))
        halves.append(np.concatenate(sets))
    noise = np.random.default_rng(0).standard_normal(60 * 16_000).astype(np.float32) * 0.1
    same = frechet_distance.frechet_distance(halves[0], halves[1]).value
    other = frechet_distance.frechet_distance(EMBEDDING.embed(noise, 16_000), halves[1]).value
    assert 0 < same < other / 4


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(15_999), "shorter than one frame"),
        (np.zeros((2, 20_000)), "mono"),
        (np.full(20_000, np.inf), "20000 samples are not finite"),
    ],
)
def test_audio_that_cannot_be_embedded_is_refused(audio, message):
    with pytest.raises(ValueError, match=message):
        EMBEDDING.embed(audio, 16_000)
