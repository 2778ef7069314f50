"""Tokens on a grid of sixteenths: to and fro, notes off the grid, transposition, the published chorales."""

import json
import pathlib

import fuzzing
import numpy as np
import pytest

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import grid, jsb
from musicgen_jax.scores.score import Score

SHARED = pathlib.Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
PUBLISHED = SHARED / "jsb_chorales" / "jsb_chorales_16th.json"
TOKENS = grid.GridTokens()


def random_tokens(seed: int, length: int = 64, tokens: grid.GridTokens = TOKENS) -> np.ndarray:
    """int16 [T, V]: no hold where nothing sounds, and something in the last sixteenth."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, tokens.num_tokens, (length, tokens.voices)).astype(np.int16)
    drawn[rng.random(drawn.shape) < 0.5] = grid.HOLD
    for t in range(length):
        silent = (drawn[t - 1] == grid.REST) if t else np.ones(tokens.voices, bool)
        drawn[t][silent & (drawn[t] == grid.HOLD)] = grid.REST
    drawn[-1, 0] = 5
    return drawn


def test_tokens_to_score_to_tokens():
    for seed in range(20):
        tokens = random_tokens(seed)
        score = TOKENS.decode(tokens, quarter_seconds=0.7)
        np.testing.assert_array_equal(TOKENS.encode(score), tokens)


def test_a_known_phrase():
    tokens = np.array([[26, 2], [1, 0], [28, 1], [28, 5], [0, 1]])
    score = grid.GridTokens(voices=2).decode(tokens, quarter_seconds=2.0, velocity=64)
    wanted = [[36, 0, 0.5, 64, 1], [60, 0, 1, 64, 0], [62, 1, 0.5, 64, 0], [39, 1.5, 1, 64, 1], [62, 1.5, 0.5, 64, 0]]
    np.testing.assert_array_equal(score.notes, np.float32(wanted))
    np.testing.assert_array_equal(score.quarters, [0, 2, 4])


def test_holds_that_hold_nothing_are_rests():
    tokens = np.array([[1], [1], [7], [0], [1]])
    (note,) = grid.GridTokens(voices=1).decode(tokens, 1.0).notes
    np.testing.assert_array_equal(note, [41, 0.5, 0.25, grid.VELOCITY, 0])


def test_without_holds_pitches_repeat():
    plain = grid.GridTokens(holds=False)
    assert plain.num_tokens == TOKENS.num_tokens
    for seed in range(5):
        pitches = TOKENS.to_pitches(random_tokens(seed))
        tokens = plain.from_pitches(pitches)
        assert not (tokens == grid.HOLD).any()
        np.testing.assert_array_equal(plain.to_pitches(tokens), pitches)
        np.testing.assert_array_equal(plain.encode(plain.decode(tokens, 0.5)), tokens)
        held = TOKENS.from_pitches(pitches)
        np.testing.assert_array_equal(TOKENS.decode(held, 0.5).notes, plain.decode(tokens, 0.5).notes)


def test_an_uneven_tempo_makes_no_difference():
    tokens = random_tokens(1)
    steady = TOKENS.decode(tokens, quarter_seconds=1.0)
    quarters = np.cumsum(np.random.default_rng(0).uniform(0.4, 1.2, len(steady.quarters)))
    notes = steady.notes.astype(np.float64)
    onsets, ends = (np.interp(x, steady.quarters, quarters) for x in (notes[:, 1], notes[:, 1] + notes[:, 2]))
    rubato = Score(np.stack([notes[:, 0], onsets, ends - onsets, notes[:, 3], notes[:, 4]], axis=1), quarters)
    np.testing.assert_array_equal(TOKENS.encode(rubato), tokens)


def test_notes_off_the_grid():
    one = grid.GridTokens(voices=1)
    meter = {"quarters": np.arange(4.0)}
    ornament = [[60, 0, 0.125, 64, 0], [62, 0.13, 0.11, 64, 0], [64, 0.26, 0.02, 64, 0]]
    # 62 and 64 both lie nearest to the second sixteenth, 64 nearer; it is shorter than one and gets one.
    more = [[65, 0.5 + index / 4, 0.25, 64, 0] for index in range(8)]
    assert one.encode(Score(ornament + more, **meter))[:, 0].tolist() == [26, 30] + [31] * 8
    with pytest.raises(UserError, match="33% of the notes have no place in a grid of 1 voices"):
        one.encode(Score(ornament, **meter))
    overlapping = [[60, 0, 1, 64, 0], [62, 0.5, 0.5, 64, 0]]
    assert one.encode(Score(overlapping, **meter))[:, 0].tolist() == [26, 1, 28, 1]
    before = [[60, -1, 2, 64, 0], [62, 0.25, 0.25, 64, 0]]  # an excerpt: the first note began before it
    assert one.encode(Score(before, **meter))[:, 0].tolist() == [0, 28]
    assert one.encode(Score([], **meter)).shape == (0, 1)
    assert one.decode(np.zeros((0, 1), int), 1.0).empty


def test_chords_of_one_part_become_voices():
    """Four voices on one staff, as a keyboard's file has them, are what they are on four; and in five parts."""
    tokens = TOKENS.from_pitches(np.repeat([[72, 67, 64, 48], [74, 65, 62, 50], [71, 67, 62, 43]], 4, axis=0))
    score = TOKENS.decode(tokens, 0.5)
    together = Score(score.notes * [1, 1, 1, 1, 0], score.quarters)
    np.testing.assert_array_equal(TOKENS.encode(together), tokens)
    apart = Score(score.notes + np.where(score.notes[:, 4:] == 3, [0, 0, 0, 0, 2], 0), score.quarters)
    np.testing.assert_array_equal(TOKENS.encode(apart), tokens)
    doubled = np.concatenate([together.notes, np.add(together.notes, [2, 0, 0, 0, 0])])
    # Their chords are struck once, but five notes are held meanwhile: what remains of these is a beginning.
    held = [[pitch, 0.125 * index, 1.5, 90, 0] for index, pitch in enumerate((40, 43, 47, 50, 53))]
    with pytest.raises(UserError, match="% of the notes have no place in a grid of 4 voices"):
        TOKENS.encode(Score(held, score.quarters))
    with pytest.raises(UserError, match="86% of the notes have no place in a grid of 4 voices"):
        TOKENS.encode(Score(doubled, score.quarters))


def test_many_notes_take_a_moment():
    rng = np.random.default_rng(0)
    count = 160_000
    columns = rng.integers(40, 80, count), rng.uniform(0, 250_000, count), rng.uniform(0, 1, count)
    crowd = np.stack([*columns, np.full(count, 64), rng.integers(0, 4, count)], axis=1)
    tokens = TOKENS.encode(Score(crowd, quarters=[0, 1]))
    pitches = TOKENS.to_pitches(tokens)
    # Each voice by a loop: the nearest of a sixteenth, in order.
    for voice in range(4):
        wanted, begun = np.full(len(tokens), -1), {}
        notes = Score(crowd).of_part(voice).astype(np.float64)
        for pitch, onset, duration, _, _ in notes[notes[:, 1] < 500].tolist():
            start = int(onset * 4 + 0.5)
            far = abs(onset * 4 - start)
            if start not in begun or far < begun[start][0]:
                begun[start] = far, pitch, max(int((onset + duration) * 4 + 0.5), start + 1)
        for start, (_, pitch, end) in sorted(begun.items()):
            wanted[start:] = -1
            wanted[start:end] = pitch
        np.testing.assert_array_equal(pitches[:1990, voice], wanted[:1990])


def test_transposition():
    tokens = TOKENS.from_pitches(np.array([[60, 55, 52, 48], [62, 57, -1, 47]]))
    shifts = TOKENS.shifts(tokens)
    assert (shifts[0], shifts[-1]) == (36 - 47, 81 - 62)
    for shift in shifts:
        there = TOKENS.transposed(tokens, shift)
        np.testing.assert_array_equal(TOKENS.to_pitches(there)[0], np.array([60, 55, 52, 48]) + shift)
        assert there[1, 2] == grid.REST
        np.testing.assert_array_equal(TOKENS.transposed(there, -shift), tokens)
    with pytest.raises(UserError, match="pitch 82 is out of range: the grid has MIDI 36 to 81"):
        TOKENS.transposed(tokens, 20)
    assert 0 in TOKENS.shifts(np.zeros((3, 4), int))
    assert TOKENS.transposed(np.array([1, 0, 7, 1]), 2).tolist() == [1, 0, 9, 1]  # it begins within a note
    with pytest.raises(UserError, match="pitch 35 is out of range"):
        TOKENS.transposed(np.array([1, 3]), -2)


def test_places_in_the_meter():
    score = Score([], quarters=np.arange(8) * 0.5, bars=[-3, 1, 5], fermatas=[[1.0, 1.5]])
    places = grid.places(score, 32)
    assert places[:6, 0].tolist() == [0, 1, 2, 3, 0, 1]
    assert places[:6, 1].tolist() == [12, 13, 14, 15, 0, 1]
    assert places[18:22, 1].tolist() == [14, 15, 0, 1]
    assert np.flatnonzero(places[:, 2]).tolist() == [8, 9, 10, 11]
    assert (grid.places(Score([], quarters=[0, 1]), 4)[:, 1] == -1).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TOKENS.decode(np.full((2, 4), 48), 1.0), "from 0 to 47; got 48, 48"),
        (lambda: TOKENS.decode(np.zeros((2, 3), int), 1.0), r"shape \[T, 4\]; got \[2, 3\]"),
        (lambda: TOKENS.decode(np.zeros((2, 4), int), 0.0), "quarter_seconds is 0.0"),
        (
            lambda: TOKENS.encode(Score([[60, 0, 1, 64, part] for part in range(5)], [0, 1])),
            "5 parts; a grid of 4 voices",
        ),
        (lambda: TOKENS.encode(Score([[60, 0, 1, 64, 0]])), "no quarters"),
        (lambda: TOKENS.encode(Score([[60, 0, 1e9, 64, 0]], [0, 1])), "at most 1048576 fit"),
        (lambda: TOKENS.encode(Score([[90, 0, 1, 64, 0]], [0, 1])), "pitch 90 is out of range"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.fixture
def published(tmp_path) -> pathlib.Path:
    """Two pieces a split in the published form."""
    pieces = [TOKENS.to_pitches(random_tokens(seed, 16)).tolist() for seed in range(6)]
    path = tmp_path / "chorales.json"
    path.write_text(json.dumps(dict(zip(jsb.SPLITS, (pieces[:2], pieces[2:4], pieces[4:]), strict=True))))
    return path


def test_published_pieces_are_read(published):
    pieces = jsb.read(published)
    assert {split: len(found) for split, found in pieces.items()} == {"train": 2, "valid": 2, "test": 2}
    np.testing.assert_array_equal(pieces["valid"][1], TOKENS.to_pitches(random_tokens(3, 16)))


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        ([[60, 55, 50]], "valid, piece 0 must be a list of sixteenths, each a list of 4 pitches"),
        ([[60, 55, 50, 40], [60]], "must be a list"),
        ("music", "must be a list"),
        ([[60, 55, 50, 128]], "no integer from -1"),
        ([[60, 55, 50, 40.5]], "no integer from -1"),
        ([[60, 55, 50, 10**30]], "must be a list"),
    ],
)
def test_other_things_are_refused(tmp_path, piece, message):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"train": [], "valid": [piece], "test": []}))
    with pytest.raises(UserError, match=message):
        jsb.read(path)
    path.write_text('{"train": []}')
    with pytest.raises(UserError, match="no list of pieces named valid"):
        jsb.read(path)


def test_damaged_grids(published):
    fuzzing.survey_file(published, jsb.read, fuzzing.json_mutations(published.read_text(), 0, 100))


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the shared folder with the published chorales is absent")
def test_all_published_chorales():
    pieces = jsb.read(PUBLISHED)
    assert [len(pieces[split]) for split in jsb.SPLITS] == [229, 76, 77]
    for piece in pieces["test"]:
        tokens = TOKENS.from_pitches(piece)
        np.testing.assert_array_equal(TOKENS.to_pitches(tokens), piece)
        np.testing.assert_array_equal(TOKENS.encode(TOKENS.decode(tokens, 2 / 3)), tokens)
        shifts = TOKENS.shifts(tokens)
        assert shifts[0] <= 0 <= shifts[-1]
