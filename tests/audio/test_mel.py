import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from musicgen_jax.audio import mel

SETTINGS = {"sample_rate": 16_000, "n_fft": 512, "hop_length": 128, "window_length": 512, "num_mels": 40}


@pytest.mark.long
def test_log_mel_equals_librosa():
    audio = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
    ours = np.asarray(mel.log_mel(audio, **SETTINGS))
    theirs = librosa.feature.melspectrogram(
        y=audio, sr=16_000, n_fft=512, hop_length=128, n_mels=40, power=1.0, pad_mode="constant"
    )
    assert ours.shape == (2, 1 + 4000 // 128, 40)
    np.testing.assert_allclose(ours, np.log(np.maximum(theirs, 1e-5)).transpose(0, 2, 1), atol=1e-4)


def test_silence_lies_on_the_floor_and_has_zero_gradient():
    silence = np.zeros(2000, np.float32)
    np.testing.assert_allclose(mel.log_mel(silence, **SETTINGS, floor=1e-3), np.log(1e-3), rtol=1e-6)
    gradient = jax.grad(lambda audio: jnp.sum(mel.log_mel(audio, **SETTINGS)))(silence)
    np.testing.assert_array_equal(gradient, 0)


def test_filterbank_is_cached_and_cannot_be_written():
    filters = mel.filterbank(16_000, 512, 40)
    assert filters is mel.filterbank(16_000, 512, 40)
    assert filters.shape == (257, 40)
    assert filters.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        filters[0, 0] = 1.0


@pytest.mark.parametrize(
    ("num_mels", "edges", "message"),
    [(256, {}, "contains no bin"), (8, {"max_hz": 9000.0}, "sample_rate / 2"), (8, {"min_hz": 8000.0}, "min_hz")],
)
def test_bands_that_do_not_fit_are_refused(num_mels, edges, message):
    with pytest.raises(ValueError, match=message):
        mel.filterbank(16_000, 512, num_mels, **edges)


def test_heights_are_those_of_librosa():
    top = librosa.hz_to_mel(8000)
    for hz in (0, 500, 1000, 5000, 8000):
        assert mel.height(hz, 8000) == pytest.approx(librosa.hz_to_mel(hz) / top, abs=1e-3)


NOWHERE_TO_WRITE = """
from numba.core import caching

def refuse(self):
    raise OSError("read-only file system")

for name, locator in vars(caching).items():  # some versions of Numba begin the names with a _
    if name.strip("_").startswith(("InTreeCache", "UserWideCache")):
        locator.ensure_cache_path = refuse
try:
    import librosa.util.utils
except RuntimeError:
    from musicgen_jax.audio import mel
    print(mel.filterbank(16000, 1024, 64).shape, mel.height(8000, 8000))
"""


@pytest.mark.long
def test_no_folder_for_a_cache_is_needed(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", NOWHERE_TO_WRITE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "(513, 64) 1.0\n", done.stderr[-1000:]
    assert list(tmp_path.iterdir()) == []
