"""Rendered scores are the ceiling, wrong notes lie below, and what cannot be measured says why."""

import dataclasses

import numpy as np
import pytest

from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.evaluation import score_quality
from musicgen_jax.scores.score import Score

SAMPLE_RATE = 8000
SECONDS = 3.0


def performance(pitches: tuple[int, ...], timbre: str = "flute") -> score_quality.Performance:
    """A melody in half notes of a second above a held bass, as the synthesizer plays it."""
    rows = [(pitch, index, 0.95, 100, 0) for index, pitch in enumerate(pitches)]
    score = Score(np.array([*rows, (43, 0, SECONDS, 100, 1)], np.float32))
    audio = synthesizer.render(synthesizer.pack(score.voices()), timbres.FLUTE, SECONDS, SAMPLE_RATE)
    return score_quality.Performance("a", audio, SAMPLE_RATE, timbre, score)


@pytest.fixture(scope="module")
def pieces() -> list[score_quality.Performance]:
    return [performance((60, 64, 67)), performance((72, 71, 69)), performance((55, 57, 59))]


def test_rendered_scores_reach_their_ceiling(pieces):
    found, absent = score_quality.judge(pieces, pieces)
    assert absent == {}
    assert found["note_f1"] > 0.9
    assert found["note_f1_share"] == pytest.approx(1.0)
    assert found["note_f1_low"] <= found["note_f1"] <= found["note_f1_high"]
    assert [row["note_f1"] for row in found["recordings"]] == [row["note_f1"] for row in found["samples"]]
    assert found["intervals"]["note_f1_ceiling"] == found["intervals"]["note_f1"]
    assert found["intervals"]["note_f1_shuffled"]["num_pieces"] == 3
    assert found["note_f1_lowest"] == min(row["note_f1"] for row in found["samples"])
    # The held bass is in all of them, half of what sounds; the melodies have no note in common.
    assert found["note_f1_shuffled"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.long
def test_a_wrong_note_costs_its_share(pieces):
    """A third of the melody, which is half of what sounds."""
    notes = pieces[0].score.notes.copy()
    notes[notes[:, 0] == 64, 0] = 66
    wrong = dataclasses.replace(pieces[0], score=Score(notes))
    right = score_quality.judge(pieces[:1], pieces)[0]["note_f1"]
    assert right - score_quality.judge([wrong], pieces)[0]["note_f1"] == pytest.approx(1 / 6, abs=0.04)


def test_what_is_absent_says_why(pieces):
    found, absent = score_quality.judge([pieces[0], pieces[0]], [])
    assert "two" in absent["score.note_f1_shuffled"] and "no held-out" in absent["score.note_f1_ceiling"]
    assert "note_f1_share" not in found
    found, absent = score_quality.judge([dataclasses.replace(pieces[0], timbre="tuba")], pieces)
    assert "not of tuba" in absent["score.note_f1"] and "note_f1" not in found
    assert found["statistics"]["samples"]["polyphony"]["mean"] == pytest.approx(1.95, abs=0.05)


def test_samples_of_known_timbre_are_judged_beside_others(pieces):
    found, absent = score_quality.judge([pieces[0], dataclasses.replace(pieces[1], timbre="unknown")], pieces[:1])
    assert [row["note_f1"] for row in found["samples"]] == [found["note_f1"]]
    assert absent["score.note_f1_of_all"].startswith("1 of 2 samples are measured: the samples were asked for no genre")


def test_samples_of_no_genre_say_so(pieces):
    found, absent = score_quality.judge([dataclasses.replace(pieces[0], timbre="unknown")], pieces)
    assert "note_f1" not in found
    assert "asked for no genre: sample with one of" in absent["score.note_f1"]


def test_clip_is_the_middle_of_both(pieces):
    clip = pieces[0].clip(1.0)
    assert len(clip.audio) == SAMPLE_RATE
    assert sorted(clip.score.notes[:, 0]) == [43, 64]


def test_scores_compare_whatever_their_key(pieces):
    scores = [piece.score for piece in pieces]
    found = score_quality.compare(scores, [score.transposed(3) for score in scores], SECONDS)
    assert found["interval_distance"] == 0 and found["pitch_class_distance"] == pytest.approx(0)
    assert found["samples"]["notes_per_second"] == found["held_out"]["notes_per_second"]


def test_excerpts_of_a_piece_are_like_it():
    """A piece has more pitch classes than any of its excerpts, and its keys change: its clips are what compares."""
    pitches = [60, 64, 67, 72, 62, 66, 69, 74, 61, 65, 68, 73]
    piece = Score([(pitch, index, 1, 100, 0) for index, pitch in enumerate(pitches)])
    excerpts = score_quality.clips(piece, 4.0)
    assert [clip.notes[:, 0].tolist() for clip in excerpts] == [pitches[:4], pitches[4:8], pitches[8:]]
    found = score_quality.compare(excerpts, [piece], 4.0)
    means = {side: {name: one["mean"] for name, one in found[side].items()} for side in ("samples", "held_out")}
    assert means["samples"] == pytest.approx(means["held_out"])
    assert means["held_out"]["num_pitch_classes"] == 3 and means["held_out"]["key_share"] == 1
    assert found["interval_distance"] == pytest.approx(0) and found["pitch_class_distance"] == pytest.approx(0)


def test_clips_begin_with_notes_and_leave_no_rest():
    piece = Score([(60, 0.5, 3.0, 100, 0), (64, 3.2, 1.0, 100, 1), (65, 4.2, 0.7, 100, 1)])
    first, second = score_quality.clips(piece, 2.0)[0], score_quality.clips(piece, 2.0)[1:]
    assert first.notes[:, :3].tolist() == [[60, 0, 2]]
    assert second == []  # 1.7 s are left from the next note on
    for short in (piece, Score([])):
        assert score_quality.clips(short, 60.0) == [short]
