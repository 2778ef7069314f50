"""Activations of keys -> notes; the windows of the network; and what the network itself makes of a rendered chorale."""

import os
import pathlib
import sys

import mir_eval
import numpy as np
import pytest

from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.scores import transcription
from musicgen_jax.scores.score import Score

KEYS, KEPT, FRAME = transcription.KEYS, 142, transcription.FRAME
# What `make transcriber` fetches; tests of the network itself need it.
NETWORK = pathlib.Path(os.environ.get("TRANSCRIBER", pathlib.Path(__file__).parents[2] / "transcriber" / "nmp.onnx"))


def played(*notes: tuple[int, int, int, float], length: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Activations [T, KEYS] of notes (first frame, frame behind the last, key, how surely), each with its onset."""
    sounding, onsets = np.zeros((2, length, KEYS), np.float32)
    for first, last, key, surely in notes:
        sounding[first:last, key] = surely
        onsets[first, key] = 0.9
    return sounding, onsets


def found(sounding: np.ndarray, onsets: np.ndarray) -> list[tuple[int, int, int]]:
    return sorted(note[:3] for note in transcription.notes_of(sounding, onsets))


def test_notes_are_what_was_played():
    notes = [(10, 60, 40, 0.8), (10, 90, 44, 0.6), (60, 120, 40, 0.7), (100, 150, 80, 0.9)]
    sounding, onsets = played(*notes)
    assert found(sounding, onsets) == sorted(note[:3] for note in notes)
    loudness = {note[:3]: note[3] for note in transcription.notes_of(sounding, onsets)}
    assert all(loudness[note[:3]] == pytest.approx(note[3], abs=1e-6) for note in notes)


def test_gaps_are_bridged_and_short_notes_are_none():
    sounding, onsets = played((10, 60, 40, 0.5), (100, 111, 50, 0.9))
    sounding[30:40, 40] = 0.29  # ten frames
    assert found(sounding, onsets) == [(10, 60, 40)]
    sounding[40:41, 40] = 0.29  # eleven
    assert found(sounding, onsets)[0] == (10, 30, 40)


def test_the_keys_beside_a_note_are_the_note():
    sounding, onsets = played((10, 60, 40, 0.8))
    sounding[10:60, 41] = 0.35
    assert found(sounding, onsets) == [(10, 60, 40)]


def test_what_sounds_without_an_onset_is_a_note_too():
    sounding, onsets = played((10, 60, 40, 0.8))
    rise = np.linspace(0.31, 0.9, 40)
    sounding[100:180, 60] = np.concatenate([rise, rise[::-1]])
    notes = found(sounding, onsets)
    assert notes[0] == (10, 60, 40) and len(notes) == 2
    assert abs(notes[1][0] - 100) <= 1 and abs(notes[1][1] - 180) <= 2 and notes[1][2] == 60


def test_a_sudden_rise_is_an_onset():
    sounding, onsets = played((10, 60, 40, 0.3), (10, 100, 60, 0.9))
    sounding[60:120, 40] = 0.95
    onsets[10:, 40] = 0
    assert (60, 120, 40) in found(sounding, onsets)


def test_silence_has_no_notes():
    assert found(*np.zeros((2, 200, KEYS), np.float32)) == []
    assert found(*np.zeros((2, 0, KEYS), np.float32)) == []
    score = transcription.transcribe(lambda windows: np.zeros((2, len(windows), 172, KEYS), np.float32), [], 22050)
    assert score.empty and score.quarters is None


def echo(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stands for the network: every frame has the sample at its centre."""
    frames = np.pad(windows, ((0, 0), (0, 172 * FRAME - windows.shape[1])))[:, ::FRAME]
    return (np.repeat(frames[..., None], KEYS, axis=2),) * 2


@pytest.mark.parametrize("length", [1, 255, 256, 257, KEPT * FRAME, 43844, 8 * KEPT * FRAME + 1, 700_000])
def test_frames_are_evenly_spaced_over_all_windows(length):
    audio = np.arange(1, length + 1, dtype=np.float32)
    for size in (length, 10_000):
        blocks = [audio[first : first + size] for first in range(0, length, size)]
        for part in transcription.activations(echo, blocks):
            np.testing.assert_array_equal(part[:, 0], audio[::FRAME])


def test_another_rate_has_the_same_times():
    """A click at 1 s of a recording of 16 kHz."""
    audio = np.zeros(32_000, np.float32)
    audio[16_000 - 200 : 16_000 + 200] = 0.5
    sounding, _ = transcription.activations(echo, transcription._resampled(np.split(audio, 10), 16_000))
    frames = np.flatnonzero(sounding[:, 0] > 0.2)
    assert abs(frames.mean() * FRAME / 22050 - 1) < 0.01


def test_what_is_no_network_is_told_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(NotFoundError, match=r"no such network of basic-pitch: .*: `make transcriber` fetches it"):
        transcription.load(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"needs onnxruntime, which is not installed: pip install"):
        transcription.load(tmp_path / "text.onnx")
    monkeypatch.undo()
    pytest.importorskip("onnxruntime")
    with pytest.raises(UserError, match=r"text\.onnx: onnxruntime cannot read it"):
        transcription.load(tmp_path / "text.onnx")


@pytest.mark.slow
@pytest.mark.skipif(not NETWORK.is_file(), reason="`make transcriber` fetches the network, or name it by TRANSCRIBER")
def test_rendered_chorales_are_heard():
    """A chorale in each timbre, whose score is known: F1 of pitches and onsets within 50 ms; twice the same notes."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("music21")
    from musicgen_jax.data.sources import chorales

    network = transcription.load(NETWORK)
    tracks, _ = chorales.tracks("", 16_000, 0, 0, num_chorales=8)
    least = {"organ": 0.4, "flute": 0.7, "strings": 0.5, "voice": 0.7}  # an organ's octaves are heard as notes
    for item in [next(one for one in tracks if one.labels["genre"] == timbre) for timbre in least]:
        blocks = [np.concatenate(list(item.blocks()))[: 12 * 16_000]]
        wanted, heard = item.score.clipped(12.0), transcription.transcribe(network, blocks, 16_000)
        np.testing.assert_array_equal(transcription.transcribe(network, blocks, 16_000).notes, heard.notes)
        print(f"{item.track_id}: F1 {f1(wanted, heard):.2f}, a semitone higher {f1(wanted.transposed(1), heard):.2f}")
        assert f1(wanted, heard) > least[item.labels["genre"]]
        assert f1(wanted.transposed(1), heard) < 0.3


def f1(wanted: Score, heard: Score) -> float:
    """Of onsets and pitches."""
    pairs = []
    for notes in (wanted.notes.astype(np.float64), heard.notes.astype(np.float64)):
        ends = notes[:, 1] + np.maximum(notes[:, 2], 1e-3)
        pairs += [np.stack([notes[:, 1], ends], axis=1), 440 * 2 ** ((notes[:, 0] - 69) / 12)]
    return mir_eval.transcription.precision_recall_f1_overlap(*pairs, offset_ratio=None)[2]
