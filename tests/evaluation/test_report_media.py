import base64
import io
import re

import numpy as np
import PIL.Image
import pytest
import soundfile

from musicgen_jax.audio import spectrogram_image
from musicgen_jax.evaluation import report_media

TIME = np.arange(22_050) / 22_050
TONE = report_media.Clip("tone", 0.5 * np.sin(2 * np.pi * 2000 * TIME), 22_050)


def _picture(media):
    return np.asarray(PIL.Image.open(io.BytesIO(media.picture)))


def test_the_encoded_sound_is_the_clip():
    """Of the same length, without the encoder's delay, and with little noise."""
    audio, sample_rate = soundfile.read(io.BytesIO(report_media.encode(TONE).sound))
    assert sample_rate == 22_050 and len(audio) == len(TONE.audio)
    noise = np.mean((audio - TONE.audio)[2000:-2000] ** 2) / np.mean(TONE.audio**2)
    assert 10 * np.log10(noise) < -25


@pytest.mark.parametrize(("rate", "encoded"), [(4000, 8000), (10_000, 11_025), (96_000, 48_000), (44_100, 44_100)])
def test_rates_that_mp3_does_not_know_are_changed(rate, encoded):
    tone = report_media.Clip("tone", 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate), rate)
    audio, sample_rate = soundfile.read(io.BytesIO(report_media.encode(tone).sound))
    assert sample_rate == encoded and len(audio) == pytest.approx(encoded, abs=2)
    assert np.argmax(np.abs(np.fft.rfft(audio))) == pytest.approx(440, abs=1)  # hertz, of one second


def test_a_player_carries_both_inside():
    media = report_media.encode(report_media.Clip("<tone>", TONE.audio, 22_050))
    page = report_media.player(media, "original")
    for kind, content in (("audio/mpeg", media.sound), ("image/webp", media.picture)):
        [data] = re.findall(rf'src="data:{kind};base64,([^"]+)"', page)
        assert base64.b64decode(data) == content
    assert "&lt;tone&gt;, original" in page and "<tone>" not in page


def test_the_picture_is_brightest_at_the_pitch():
    image = _picture(report_media.encode(TONE))
    assert image.shape[0] == spectrogram_image.NUM_MELS
    row = int(np.argmax(image[:, image.shape[1] // 2].astype(int).sum(axis=-1)))
    height, _ = next(tick for tick in report_media._ticks(22_050) if tick[1] == "2 kHz")
    assert 100 * (1 - (row + 0.5) / spectrogram_image.NUM_MELS) == pytest.approx(height, abs=2)


def test_a_shared_peak_shows_what_is_quieter():
    quiet = report_media.Clip("quiet", 0.01 * TONE.audio, 22_050)
    peak = report_media.peak_magnitude(TONE)
    own, shared = (_picture(report_media.encode(quiet, peak=p)).astype(int) for p in (None, peak))
    assert own.sum() > shared.sum()


@pytest.mark.parametrize("peak", [None, 1.0])
def test_silence_is_dark(peak):
    silence = report_media.Clip("silence", np.zeros(5000), 22_050)
    assert _picture(report_media.encode(silence, peak=peak)).max() < 13


def test_clipping_is_reported():
    loud = report_media.encode(report_media.Clip("loud", np.array([0.0, 1.5, -2.0, 1.0]), 22_050))
    assert "2 samples beyond full scale were clipped" in report_media.player(loud, "sample")
    assert "clipped" not in report_media.player(report_media.encode(TONE), "sample")


def test_a_long_clip_has_a_small_picture():
    long = report_media.Clip("long", np.zeros(22_050 * 60), 22_050)
    assert _picture(report_media.encode(long)).shape[1] <= spectrogram_image.MAX_COLUMNS + 1


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros((2, 10)), 8000, "mono"),
        (np.zeros(0), 8000, "mono"),
        (np.array([np.nan]), 8000, "not finite"),
        (np.zeros(10), 0, "positive"),
    ],
)
def test_clips_that_cannot_be_played_are_refused(audio, rate, message):
    with pytest.raises(ValueError, match=message):
        report_media.Clip("bad", audio, rate)
