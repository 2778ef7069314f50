"""Scores: sorting, checks, excerpts, tempo, voices; every operation against its definition on random notes."""

import numpy as np
import pytest

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import score


def random_notes(seed: int, count: int = 60) -> np.ndarray:
    """float32 [N, 5], unsorted, times in sixteenths of a second, so that sums of them are exact."""
    rng = np.random.default_rng(seed)
    times = rng.integers(0, 160, count) / 16
    durations = rng.integers(1, 32, count) / 16
    columns = rng.integers(40, 80, count), times, durations, rng.integers(1, 128, count), rng.integers(0, 4, count)
    return np.stack(columns, axis=1).astype(np.float32)


def test_notes_are_sorted():
    notes = [[62, 1, 1, 64, 0], [60, 1, 1, 64, 1], [60, 1, 1, 64, 0], [72, 0, 1, 64, 3]]
    sorted_notes = score.Score(notes).notes
    assert sorted_notes.dtype == np.float32
    np.testing.assert_array_equal(sorted_notes, np.float32([notes[3], notes[2], notes[1], notes[0]]))


def test_length_and_parts():
    piece = score.Score([[60, 0, 5, 64, 2], [62, 1, 1, 64, 0]])
    assert (piece.seconds, piece.num_parts, piece.empty) == (5.0, 3, False)
    nothing = score.Score(np.zeros((0, 5)))
    assert (nothing.seconds, nothing.num_parts, nothing.empty) == (0.0, 0, True)
    assert score.Score([]).empty
    assert nothing.cut(0, 1).empty and nothing.clipped(1).empty and nothing.voices() == []


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ([[60, 0, 1, 64]], r"notes of a score have shape \(1, 4\); expected \[-1, 5\]"),
        (
            [[128, 0.5, 1, 64, 0]],
            "pitch out of range: 128 in the note of pitch 128 at 0.50 s; it must be from 0 to 127",
        ),
        ([[60, 0, -1, 64, 0]], "duration out of range"),
        ([[60, 0, 1, 0, 0]], "velocity out of range: 0 .* from 1 to 127"),
        ([[60, 0, 1, 64, -1]], "part out of range"),
        ([[60, np.nan, 1, 64, 0]], "not finite"),
    ],
)
def test_bad_notes(notes, message):
    with pytest.raises(UserError, match=message):
        score.Score(notes)


@pytest.mark.parametrize(
    "meter", [{"quarters": [0.0]}, {"quarters": [0.0, 1.0, 1.0]}, {"bars": [0.0]}, {"quarters": [0, 1], "bars": [4, 0]}]
)
def test_bad_meter(meter):
    with pytest.raises(UserError, match="of a score must"):
        score.Score([], **meter)


def test_cut_keeps_what_sounds():
    notes = score.Score(random_notes(0)).notes
    cut = score.Score(notes, fermatas=[[0, 1], [3, 4.5], [6, 8]]).cut(4.0, 6.0)
    wanted = [[p, o - 4, d, v, q] for p, o, d, v, q in notes.tolist() if o < 6 and (o + d > 4 or o >= 4)]
    np.testing.assert_array_equal(cut.notes, np.float32(wanted))
    assert (cut.notes[:, 1] < 0).any() and cut.seconds > 2
    np.testing.assert_array_equal(cut.fermatas, np.float32([[-1, 0.5]]))


def test_cut_of_the_meter():
    quarters = np.array([0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 3.5, 4.0])
    cut = score.Score([], quarters, bars=[-3.0, 1.0, 5.0]).cut(1.5, 3.2)
    np.testing.assert_allclose(cut.quarters, [-0.5, 0.5, 1.0, 1.5, 2.0])
    np.testing.assert_array_equal(cut.bars, [-1.0, 3.0])  # quarter 2 of the whole is quarter 0 of the excerpt
    beyond = score.Score([], quarters, bars=[-3.0, 1.0, 5.0]).cut(9.1, 9.2)
    np.testing.assert_allclose(beyond.quarters, [-0.1, 0.4])


def test_silence_before_the_first_note_goes_in_whole_quarters():
    """Two of the three quarters of a bar: what remains is in time with the bars."""
    quarters = np.arange(9) * 0.5
    piece = score.Score(
        np.float32([[60, 1.12, 0.5, 80, 0], [62, 2.0, 1.0, 80, 0]]), quarters, np.array([0.0, 3.0, 6.0])
    )
    begun = piece.from_first_note()
    np.testing.assert_allclose(begun.notes[:, 1], [0.12, 1.0], atol=1e-6)
    np.testing.assert_allclose(begun.bars, [-2.0, 1.0])
    early = score.Score(np.float32([[60, 0.98, 0.5, 80, 0]]), quarters).from_first_note()
    np.testing.assert_allclose(early.notes[:, 1], [-0.02], atol=1e-6)
    free = score.Score(piece.notes).from_first_note()
    np.testing.assert_allclose(free.notes[:, 1], [0.0, 0.88], atol=1e-6)
    assert begun.from_first_note() is begun


def test_clipped_is_what_lies_within():
    piece = score.Score(random_notes(1)).cut(4.0, 6.0)
    clipped = piece.clipped(2.0)
    assert clipped.notes[:, 1].min() == 0 and clipped.seconds == 2.0
    ends = [np.sort(notes[:, 1] + notes[:, 2]) for notes in (piece.notes, clipped.notes)]
    np.testing.assert_array_equal(ends[1], np.minimum(ends[0], 2.0))
    assert len(clipped.notes) == len(piece.notes)
    assert len(piece.clipped(1.0).notes) == (piece.notes[:, 1] < 1).sum()


def test_transposed_and_back():
    piece = score.Score(random_notes(2), quarters=[0, 1])
    there = piece.transposed(5)
    np.testing.assert_array_equal(there.notes[:, 0], piece.notes[:, 0] + 5)
    np.testing.assert_array_equal(there.transposed(-5).notes, piece.notes)
    np.testing.assert_array_equal(there.quarters, piece.quarters)
    with pytest.raises(UserError, match="pitch out of range"):
        piece.transposed(60)


def test_stretched_stretches_all_times():
    piece = score.Score(random_notes(3), [0, 1, 3], [0, 2], [[1, 2]])
    slow = piece.stretched(2)
    np.testing.assert_array_equal(slow.notes, piece.notes * np.float32([1, 2, 2, 1, 1]))
    np.testing.assert_array_equal(slow.quarters, [0, 2, 6])
    np.testing.assert_array_equal(slow.bars, [0, 2])
    np.testing.assert_array_equal(slow.fermatas, np.float32([[2, 4]]))
    for factor in (0, -1, np.inf, np.nan):
        with pytest.raises(UserError, match="stretched by a positive number"):
            piece.stretched(factor)


def test_quarters_and_seconds_are_inverse():
    quarters = np.cumsum(np.random.default_rng(4).uniform(0.3, 0.9, 20))
    piece = score.Score([], quarters)
    np.testing.assert_allclose(piece.second_at(np.arange(20)), quarters)
    np.testing.assert_allclose(piece.second_at(3.5), (quarters[3] + quarters[4]) / 2)
    np.testing.assert_allclose(piece.second_at(-2), quarters[0] - 2 * (quarters[1] - quarters[0]))
    times = np.linspace(-5, 25, 101)
    np.testing.assert_allclose(piece.second_at(piece.quarter_at(times)), times, atol=1e-12)
    with pytest.raises(UserError, match="no quarters"):
        score.Score([]).quarter_at(1.0)


def test_voices_are_monophonic_and_whole():
    piece = score.Score(random_notes(5, 200))
    voices = piece.voices()
    for voice in voices:
        assert (voice[1:, 1] >= voice[:-1, 1] + voice[:-1, 2] - score.OVERLAP_SECONDS).all()
        assert voice[:, 3].max() <= 1
    rows = np.concatenate(voices) * np.float32([1, 1, 1, 127])
    wanted = piece.notes[:, :4]
    np.testing.assert_allclose(rows[np.lexsort(rows.T)], wanted[np.lexsort(wanted.T)], rtol=1e-6)
    most = 0
    for part in range(4):
        rows = piece.notes[piece.notes[:, 4] == part]
        most += max(((rows[:, 1] <= t) & (rows[:, 1] + rows[:, 2] > t)).sum() for t in rows[:, 1])
    assert len(voices) == most


def test_monophonic_parts_are_their_voices():
    rng = np.random.default_rng(6)
    voices = [
        np.column_stack([rng.integers(40, 80, 9), np.arange(9), np.ones(9), rng.uniform(0.1, 1, 9)]).astype(np.float32)
        for _ in range(4)
    ]
    piece = score.of_voices(voices, quarters=[0, 1])
    assert piece.num_parts == 4 and len(piece.quarters) == 2
    for ours, wanted in zip(piece.voices(), voices, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-6)
    assert score.of_voices([]).empty


def test_a_crowd_is_refused():
    crowd = np.tile(np.float32([60, 0, 1, 64, 0]), (score.MAX_VOICES + 1, 1))
    with pytest.raises(UserError, match="512 notes at once"):
        score.Score(crowd).voices()
