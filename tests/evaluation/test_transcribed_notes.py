"""F1 of notes that begin, beside brute force; and of samples as a network hears them."""

import itertools
import pathlib

import numpy as np
import pytest
from test_score_quality import SAMPLE_RATE, performance

from musicgen_jax.evaluation import transcribed_notes
from musicgen_jax.scores import transcription
from musicgen_jax.scores.score import Score

NETWORK = pathlib.Path(__file__).resolve().parents[2] / "transcriber/nmp.onnx"


def notes(*pitches_and_onsets: tuple[float, float]) -> Score:
    return Score([(pitch, onset, 0.2, 90, 0) for pitch, onset in pitches_and_onsets])


def test_f1_is_that_of_the_best_pairs():
    rng = np.random.default_rng(0)
    for _ in range(30):
        first, second = (
            notes(*zip(rng.integers(60, 62, 5), np.round(rng.uniform(0, 0.4, 5), 3), strict=True)) for _ in range(2)
        )
        fits = (first.notes[:, None, 0] == second.notes[None, :, 0]) & (
            np.abs(first.notes[:, None, 1] - second.notes[None, :, 1]) <= transcribed_notes.ONSET_SECONDS
        )
        best = max(sum(fits[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(5)))
        assert transcribed_notes.f1(first, second) == pytest.approx(best / 5)


def test_a_rest_is_only_like_a_rest():
    assert transcribed_notes.f1(Score([]), Score([])) == 1
    assert transcribed_notes.f1(Score([]), notes((60, 0))) == 0
    assert transcribed_notes.f1(notes((60, 0), (62, 1)), notes((60, 0.04), (62, 1.06))) == 0.5


def test_samples_beside_wrong_scores_and_recordings(monkeypatch):
    """A network that hears everything, but in samples no lowest notes."""
    melodies = [performance((60, 64, 67)), performance((72, 71, 69), timbre="tuba")]
    heard = {one.audio.tobytes(): Score(one.score.notes[one.score.notes[:, 0] > 50]) for one in melodies}
    recording = performance((55, 57, 59))
    heard[recording.clip(3.0).audio.tobytes()] = recording.score

    def transcribe(network, blocks, sample_rate):
        assert (network, sample_rate) == ("network", SAMPLE_RATE)
        return heard[b"".join(block.tobytes() for block in blocks)]

    monkeypatch.setattr(transcription, "transcribe", transcribe)
    found = transcribed_notes.judge(melodies, [recording], "network")
    assert found["transcribed_f1"] == pytest.approx(6 / 7)  # three of three are right, of four
    assert found["transcribed_f1_shuffled"] == 0
    assert found["transcribed_f1_ceiling"] == 1
    rows = found["transcribed"]
    assert [row["transcribed_f1"] for row in rows["samples"] + rows["recordings"]] == pytest.approx([6 / 7, 6 / 7, 1])
    ceiling = {"mean": 1, "low": None, "high": None, "num_pieces": 1}
    assert rows["intervals"]["transcribed_f1_ceiling"] == ceiling
    alone = transcribed_notes.judge(melodies[:1], [], "network")
    assert alone.keys() == {"transcribed", *("transcribed_f1", "transcribed_f1_low", "transcribed_f1_high")}


@pytest.mark.skipif(not NETWORK.is_file(), reason="the network is absent: make transcriber")
def test_the_network_hears_what_the_synthesizer_plays():
    pytest.importorskip("onnxruntime")
    network = transcription.load(NETWORK)
    pieces = [performance((60, 64, 67)), performance((72, 71, 69))]
    found = transcribed_notes.judge(pieces, pieces, network)
    assert found["transcribed_f1"] == found["transcribed_f1_ceiling"] > 0.7 > found["transcribed_f1_shuffled"]
