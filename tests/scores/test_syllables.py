"""Words below the notes: read from and written to MIDI and MusicXML, cut and stretched with the score."""

import dataclasses
import json

import numpy as np
import pytest

from musicgen_jax.data import manifest, score_facts
from musicgen_jax.scores import midi, music_xml
from musicgen_jax.scores.score import Score

SYLLABLES = ((0.0, "Fü"), (0.5, "ße "), (1.0, "a"), (2.0, "men "))
SCORE = Score(
    [[60 + n, onset, 0.5, 80, 0] for n, onset in enumerate((0.0, 0.5, 1.0, 1.5, 2.0))] + [[48, 0.0, 2.5, 80, 1]],
    np.arange(6) / 2,
    np.array([0.0, 4.0]),
    syllables=SYLLABLES,
)


def test_midi_has_lyric_events(tmp_path):
    midi.write(tmp_path / "a.mid", SCORE)
    found = midi.read(tmp_path / "a.mid")
    assert [text for _, text in found.syllables] == [text for _, text in SYLLABLES]
    np.testing.assert_allclose([second for second, _ in found.syllables], [0, 0.5, 1, 2], atol=1e-3)
    np.testing.assert_allclose(found.notes, SCORE.notes, atol=2e-3)
    assert midi.to_bytes(dataclasses.replace(SCORE, syllables=())) != midi.to_bytes(SCORE)


def test_music_xml_has_syllables_below_notes(tmp_path):
    pytest.importorskip("music21", reason="music21 is not installed: pip install '.[test]'")
    music_xml.write(tmp_path / "a.musicxml", SCORE)
    found = music_xml.read(tmp_path / "a.musicxml").score  # a second a quarter
    assert [(second / 2, text) for second, text in found.syllables] == list(SYLLABLES)


def test_syllables_are_cut_and_stretched_with_the_notes():
    assert SCORE.cut(0.5, 2.0).syllables == ((0.0, "ße "), (0.5, "a"))
    assert SCORE.clipped(1.0).syllables == SYLLABLES[:2]
    assert SCORE.stretched(2.0).syllables == tuple((2 * second, text) for second, text in SYLLABLES)
    assert SCORE.transposed(2).syllables == SYLLABLES
    assert Score(SCORE.notes, syllables=SYLLABLES[::-1]).syllables == SYLLABLES


def test_the_index_keeps_them():
    row = manifest.Row("a", "a", "", 2.5, 8000, 1, "ok", score=score_facts.of(SCORE, "exact"))
    found = json.loads(json.dumps(score_facts.index_row(row)))["score"]
    assert found["syllables"] == [list(syllable) for syllable in SYLLABLES]
    assert score_facts.ScoreFacts(**found).score(SCORE.notes).syllables == SYLLABLES
    without = dataclasses.replace(row, score=score_facts.of(dataclasses.replace(SCORE, syllables=()), "exact"))
    assert "syllables" not in score_facts.index_row(without)["score"]
