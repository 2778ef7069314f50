"""Scores of a prepared data set as windows of tokens."""

import dataclasses
import itertools

import numpy as np
import pytest
import tiny_scores

from musicgen_jax import config
from musicgen_jax.codes import meter, score_dataset, score_reader, score_tokens
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import performance_events
from musicgen_jax.sharding import meshes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_scores.prepare(tmp_path_factory.mktemp("scores") / "data")


def windows(folder, split="train", tokens="grid"):
    model = config.ComposerConfig(tokens=tokens, context=64)
    return score_dataset.ScoreWindows(folder, split, score_dataset.resolve(model, folder))


def test_scores_are_read_as_they_were(folder):
    found = {piece.track_id: piece for split in ("train", "validation", "test") for piece in
             score_reader.read(folder, split)}  # fmt: skip
    assert len(found) == tiny_scores.NUM_SCORES
    for index in range(tiny_scores.NUM_SCORES):
        piece, wanted = found[f"piece{index:02d}"], tiny_scores.score(index)
        for name in ("notes", "quarters", "bars", "fermatas"):
            np.testing.assert_array_equal(getattr(piece.score, name), getattr(wanted, name))
        assert piece.labels["genre"] == ("dance", "hymn")[index % 2]


@pytest.mark.parametrize("tokens", ["grid", "performance"])
def test_no_piece_begins_with_silence(folder, tokens, monkeypatch):
    """Two quarters of rest before each piece change nothing of what is learned."""
    wanted = windows(folder, tokens=tokens)
    read = score_reader.read

    def later(directory, split):
        pieces = []
        for piece in read(directory, split):
            quarter = float(np.diff(piece.score.quarters[:2])[0])
            silence = np.float32([0, 2 * quarter, 0, 0, 0])
            score = piece.score
            quarters = np.concatenate([[0.0, quarter], score.quarters + 2 * quarter])
            moved = score_reader.Score(score.notes + silence, quarters, score.bars + 2, score.fermatas + silence[1])
            pieces.append(dataclasses.replace(piece, score=moved))
        return pieces

    monkeypatch.setattr(score_reader, "read", later)
    found = windows(folder, tokens=tokens)
    for index in range(len(wanted.pieces)):
        np.testing.assert_array_equal(found.codes(index), wanted.codes(index))
        if tokens == "grid":
            positions = [w.window(index, 0)["position"] for w in (found, wanted)]
            np.testing.assert_array_equal(*positions)


def test_resolve_reads_what_only_the_scores_know(folder):
    model = score_dataset.resolve(config.ComposerConfig(context=64), folder)
    pitches = np.concatenate([tiny_scores.score(index).notes[:, 0] for index in range(tiny_scores.NUM_SCORES)])
    assert (model.lowest_pitch, model.highest_pitch) == (pitches.min(), pitches.max())
    assert model.num_codes == 2 + pitches.max() - pitches.min() + 1
    assert model.vocabularies["genre"] == ("unknown", "dance", "hymn")
    assert (model.bar_steps, model.fermata_steps) == (tiny_scores.BAR, tiny_scores.CELLS)
    assert 4 * 4 / 0.6 < model.codes_per_second < 4 * 4 / 0.5
    performed = score_dataset.resolve(config.ComposerConfig(tokens="performance", context=64), folder)
    assert performed.num_codes == 388 and not performed.hears_meter


@pytest.mark.parametrize("tokens", ["grid", "performance"])
def test_windows_side_by_side_are_the_pieces(folder, tokens):
    found = windows(folder, tokens=tokens)
    for index, its in itertools.groupby(found.consecutive(), key=lambda place: place[0]):
        examples = [found.window(*place) for place in its]
        whole = np.concatenate([example["codes"][example["mask"], 0] for example in examples])
        score = found.pieces[index].score
        if tokens == "grid":
            grid = score_tokens.of(found.model)
            np.testing.assert_array_equal(grid.decode(whole, score.quarters[1]).notes, score.notes)
            steps = np.concatenate([example["position"] for example in examples])
            np.testing.assert_array_equal(steps[:, :3], meter.positions(score, len(steps))[:, :3])
        else:
            np.testing.assert_array_equal(whole, performance_events.encode(score))
        assert all(example["length"] == len(whole) for example in examples)


@pytest.mark.parametrize("tokens", ["grid", "performance"])
def test_random_windows_are_the_pieces_in_other_keys_and_tempos(folder, tokens):
    found = windows(folder, tokens=tokens)
    draw = score_dataset.RandomScoreWindow(found, config.AugmentationConfig(transposition=2, tempo=0.1))
    first, again = (draw.random_map(0, np.random.default_rng(7)) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert len({draw.random_map(0, np.random.default_rng(seed))["codes"].tobytes() for seed in range(20)}) > 10
    index = max(range(len(found.pieces)), key=lambda index: len(found.shifts(index, 2)))
    shifts = found.shifts(index, 2)
    assert 0 in shifts and len(shifts) > 1
    tempo = 1.1 if tokens == "performance" else 1.0
    for semitones in shifts:
        codes = found.window(index, 0, semitones, tempo)["codes"][:, 0]
        moved = found.pieces[index].score.transposed(semitones).stretched(1 / tempo)
        np.testing.assert_array_equal(codes, found.tokens.encode(moved)[:64])


def test_batches_resume(folder):
    run = config.ComposerTraining(
        model=windows(folder).model,
        data=config.DataConfig(path=folder, batch_size=4),
        training=config.TrainingConfig(eval_batches=1),
    )
    mesh = meshes.single_device_mesh()
    batches_from = score_dataset.training_batches(run, mesh)
    batches = list(itertools.islice(batches_from(0), 4))
    for name, value in next(batches_from(3)).items():
        np.testing.assert_array_equal(value, batches[3][name])
    (held_out,) = score_dataset.validation_batches(run, mesh)()
    assert {name: value.shape[1:] for name, value in batches[0].items()} == {
        "codes": (64, 1), "mask": (64,), "position": (16, 4), "labels": (2,), "start": (), "length": (),
    } == {name: value.shape[1:] for name, value in held_out.items()}  # fmt: skip


def test_bad_input(folder, tiny_audio_dataset, tmp_path, monkeypatch, capsys):
    with pytest.raises(UserError, match=r"has no scores: prepare chorales.*--dataset=midi"):
        score_dataset.resolve(config.ComposerConfig(), tiny_audio_dataset)
    with pytest.raises(UserError, match=r"model\.context=66: must be a multiple of 4"):
        score_dataset.resolve(config.ComposerConfig(context=66), folder)
    with pytest.raises(UserError, match=r"model\.tokens='midi': must be one of grid, performance"):
        config.ComposerConfig(tokens="midi").validate()
    with pytest.raises(UserError, match=r"model\.tier='top': a composer's stream is score"):
        config.ComposerConfig(tier="top").validate()
    with pytest.raises(UserError, match=r"augmentation\.tempo=1: must be in"):
        config.AugmentationConfig(tempo=1).validate()
    bare = dataclasses.replace(tiny_scores.score(0), quarters=None, bars=None)
    monkeypatch.setattr(tiny_scores, "score", lambda index: bare)
    other = tiny_scores.prepare(tmp_path / "bare", count=3)
    with pytest.raises(UserError, match=r"none of \d scores can be told .*piece0.: the score has no quarters"):
        score_dataset.resolve(config.ComposerConfig(), other)
