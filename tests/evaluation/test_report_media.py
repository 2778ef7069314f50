import base64
import io
import re

import matplotlib.image
import numpy as np
import pytest
import soundfile

from musicgen_jax.evaluation import report_media

TIME = np.arange(22_050) / 22_050
TONE = report_media.Clip("tone", 0.5 * np.sin(2 * np.pi * 2000 * TIME), 22_050)


def _embedded(page, kind):
    [data] = re.findall(rf'src="data:{kind};base64,([^"]+)"', page)
    return io.BytesIO(base64.b64decode(data))


def test_the_embedded_sound_is_the_clip():
    audio, sample_rate = soundfile.read(_embedded(report_media.player(TONE, "original"), "audio/wav"))
    assert sample_rate == 22_050
    np.testing.assert_allclose(audio, TONE.audio, atol=1 / 32_000)


def test_the_picture_is_brightest_at_the_pitch():
    image = matplotlib.image.imread(_embedded(report_media.player(TONE, "original"), "image/png"))
    assert image.shape[0] == report_media.NUM_MELS
    row = int(np.argmax(image[:, image.shape[1] // 2, :3].sum(axis=-1)))
    height, _ = next(tick for tick in report_media._ticks(22_050) if tick[1] == "2 kHz")
    assert 100 * (1 - (row + 0.5) / report_media.NUM_MELS) == pytest.approx(height, abs=2)


def test_a_shared_peak_shows_what_is_quieter():
    quiet = report_media.Clip("quiet", 0.01 * TONE.audio, 22_050)
    peak = report_media.peak_magnitude(TONE)
    own, shared = (
        matplotlib.image.imread(_embedded(report_media.player(quiet, "top", peak=p), "image/png")) for p in (None, peak)
    )
    assert own.sum() > shared.sum()


@pytest.mark.parametrize("peak", [None, 1.0])
def test_silence_is_dark(peak):
    silence = report_media.Clip("silence", np.zeros(5000), 22_050)
    image = matplotlib.image.imread(_embedded(report_media.player(silence, "x", peak=peak), "image/png"))
    assert image[..., :3].max() < 0.05


def test_clipping_is_reported():
    loud = report_media.Clip("loud", np.array([0.0, 1.5, -2.0, 1.0]), 22_050)
    page = report_media.player(loud, "sample")
    assert "2 samples beyond full scale were clipped" in page
    audio, _ = soundfile.read(_embedded(page, "audio/wav"))
    np.testing.assert_allclose(audio, [0, 1, -1, 1], atol=1e-4)
    assert "clipped" not in report_media.player(TONE, "sample")


def test_a_long_clip_has_a_small_picture():
    long = report_media.Clip("long", np.zeros(22_050 * 60), 22_050)
    image = matplotlib.image.imread(_embedded(report_media.player(long, "x"), "image/png"))
    assert image.shape[1] <= report_media.MAX_COLUMNS + 1


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
