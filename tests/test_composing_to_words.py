"""A composer that is told syllables: what it reads of scores with words, and what becomes of words that it is given."""

import dataclasses
import json
import types

import numpy as np
import pytest
import tiny_scores
import tiny_workdirs

from musicgen_jax import composition, config, kinds
from musicgen_jax.codes import score_dataset
from musicgen_jax.data import preparation
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import ONSET, Score

TOLD = {"lyrics": True, "lyrics_dropout": 0.2, "lyric_tokens": 32, "characters": tuple("\n aelmo")}


def with_words(score: Score) -> Score:
    """A syllable for every note of the highest part, two a word."""
    melody = score.of_part(0)
    words = (("la", "le ")[number % 2] for number in range(len(melody)))
    return dataclasses.replace(score, syllables=tuple(zip(melody[:, ONSET].tolist(), words, strict=True)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    out = str(tmp_path_factory.mktemp("worded") / "data")
    tracks = [dataclasses.replace(item, score=with_words(item.score)) for item in tiny_scores.tracks()]
    source = types.SimpleNamespace(tracks=lambda *_: (tracks, []))
    preparation.prepare(preparation.Settings("midi", "", 4000, seed=3), source, out, num_workers=0)
    return out


def test_windows_tell_the_syllables_at_the_tokens_of_their_notes(folder):
    asked = config.ComposerConfig(context=64, lyrics=True, lyrics_dropout=0.1, lyrics_margin=0.5)
    model = score_dataset.resolve(asked, folder)
    assert model.characters == tuple(" ael") and model.lyric_tokens % 16 == 0
    windows = score_dataset.ScoreWindows(folder, "train", model)
    for index, piece in enumerate(windows.pieces):
        example = windows.window(index, 32)
        steps = np.round(piece.score.quarter_at(piece.score.of_part(0)[:, ONSET]) * 4)
        tokens = steps * 4 - 32
        starts = np.flatnonzero(example["lyrics"] == 1 + model.characters.index("l"))
        inside = tokens[(tokens > -10) & (tokens < 64 + 10)]
        for token in inside:  # half a second is 16 tokens
            assert np.abs(example["lyric_times"][starts] - token).min() < 0.01


def test_a_performance_is_told_none(folder):
    with pytest.raises(UserError, match="only a composer of tokens=grid is told lyrics"):
        score_dataset.resolve(config.ComposerConfig(tokens="performance", lyrics=True), folder)


def test_scores_without_words_teach_none(tmp_path):
    plain = tiny_scores.prepare(tmp_path / "data", 4)
    with pytest.raises(UserError, match="no score of the training split has syllables"):
        score_dataset.resolve(config.ComposerConfig(context=64, lyrics=True), plain)


@pytest.fixture(scope="module")
def composer(tmp_path_factory) -> composition.Composer:
    import jax
    import jax.numpy as jnp
    import tiny_priors

    folder = tmp_path_factory.mktemp("models") / "score"
    narrow = config.ConditionerConfig(width=6, depth=2)
    run = config.ComposerTraining(
        model=tiny_scores.model_config(conditioner=narrow, **TOLD), data=config.DataConfig(path="scores")
    )
    shapes = jax.eval_shape(kinds.KINDS["composer"].functional(run).init, jax.random.key(0))
    rng = np.random.default_rng(1)
    weights = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.35, size=leaf.shape), leaf.dtype), shapes)
    tiny_workdirs.write_workdir(folder, run, tiny_priors.attentive(weights))
    return composition.load(folder)


@pytest.mark.long
def test_words_are_below_the_notes(composer, tmp_path):
    lrc = "[00:00.00]Mo-le <00:02.00>la<00:04.00>"
    score = composer.compose(6.0, seed=3, lyrics=lrc)
    assert [text for _, text in score.syllables] == ["Mo", "le ", "la "]
    np.testing.assert_array_equal(score.notes, composer.compose(6.0, seed=3, lyrics=lrc).notes)
    others = [composer.compose(6.0, seed=3, lyrics=words) for words in ("", "[00:03.00]Ma-lo <00:04.50>me<00:05.00>")]
    assert all(not np.array_equal(score.notes, other.notes) for other in others)
    composer.write(tmp_path / "out", 6.0, seed=3, num_samples=1, lyrics=lrc)
    (sample,) = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert (sample["syllables"], sample["melody_notes"]) == (3, len(score.of_part(0)))
    assert len(midi.read(tmp_path / "out" / "000.mid").syllables) == 3


def test_words_and_a_beginning_do_not_go_together(composer):
    with pytest.raises(UserError, match="lyrics: the score continues a prompt"):
        composer.compose(20.0, lyrics="la", prompt=tiny_scores.score(0).cut(0, 2))


def test_another_composer_takes_no_words(composer):
    deaf = dataclasses.replace(composer.model, config=dataclasses.replace(composer.model.config, lyrics=False))
    with pytest.raises(UserError, match="this composer is not told lyrics"):
        composition.Composer(deaf, "").compose(6.0, lyrics="la")
