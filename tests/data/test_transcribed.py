"""A data set whose recordings a network transcribes: only those without a score, and whoever works on them."""

import itertools

import numpy as np
import pytest
import soundfile

from musicgen_jax.data import audio_dataset, manifest, preparation
from musicgen_jax.data.sources import recordings
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi, transcription
from musicgen_jax.scores.score import Score

RATE = 22050


def octaves(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stands for the network: key 40 sounds where the audio is loud, and begins where it becomes loud."""
    frames = np.pad(windows, ((0, 0), (0, 172 * 256 - windows.shape[1]))).reshape(len(windows), 172, 256)
    loud = (np.abs(frames).max(axis=2) > 0.2).astype(np.float32)
    sounding, onsets = np.zeros((2, len(windows), 172, 88), np.float32)
    sounding[..., 40] = 0.5 * loud
    onsets[..., 1:, 40] = np.maximum(np.diff(loud, axis=1), 0)
    return sounding, onsets


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Three recordings: one that begins to sound at 1 s, one with a score, and one too soft to be heard."""
    monkeypatch.setattr(transcription, "load", lambda path: octaves)
    folder = tmp_path / "in"
    folder.mkdir()
    first, second, third = np.random.default_rng(0).uniform(-1, 1, (3, 3 * RATE))  # none a version of another
    for name, audio in (("a", first * (np.arange(len(first)) >= RATE)), ("b", second), ("soft", third * 0.1)):
        soundfile.write(folder / f"{name}.wav", 0.9 * audio, RATE)
    midi.write(folder / "b.mid", Score([[70, 0.5, 1.0, 80, 0]]))
    return folder


def prepare(source, out, digest="f00d", network="nmp.onnx") -> dict:
    settings = preparation.Settings("recordings", str(source), RATE, 0, digest)
    return preparation.prepare(settings, recordings, str(out), 0, network)


def test_recordings_without_a_score_are_transcribed(source, tmp_path):
    report = prepare(source, tmp_path / "out")
    kinds = {row.path: (row.score.kind, row.score.num_notes) for row in manifest.read(tmp_path / "out")}
    assert kinds == {"a.wav": ("transcribed", 1), "b.wav": ("sidecar", 1), "soft.wav": ("", 0)}
    assert report["scores"] == {kind: {"tracks": 1, "notes": bool(kind)} for kind in ("", "sidecar", "transcribed")}
    assert report["settings"]["transcriber"] == "f00d"
    read = (audio_dataset.read_tracks(str(tmp_path / "out"), split) for split in manifest.SPLITS)
    tracks = {facts["track_id"]: facts["notes"] for facts, _ in itertools.chain(*read)}
    np.testing.assert_allclose(tracks["a.wav"], [[61, 1.0, 2.0, 64, 0]], atol=0.02)


def test_another_network_is_another_data_set(source, tmp_path):
    prepare(source, tmp_path / "out")
    assert prepare(source, tmp_path / "out")["settings"]["transcriber"] == "f00d"
    for digest in ("beef", ""):
        with pytest.raises(UserError, match=f"made with other settings .transcriber 'f00d', now {digest or None!r}"):
            prepare(source, tmp_path / "out", digest)
    report = prepare(source, tmp_path / "without", "", "")
    assert "transcriber" not in report["settings"] and "transcribed" not in report["scores"]
