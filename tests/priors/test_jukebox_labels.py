"""Names, characters and windows of lyrics of the published priors."""

import json

import jukebox_models
import numpy as np
import pytest

from musicgen_jax.priors import jukebox_labels


def test_characters_of_the_newer_alphabet():
    """Written down from the example of transformers' tokenizer."""
    found = jukebox_labels.characters("old town road", 79)
    assert found.tolist() == [41, 38, 30, 76, 46, 41, 49, 40, 76, 44, 41, 27, 30]


def test_alphabets_have_a_number_for_every_character_but_zero():
    for size, alphabet in jukebox_labels.ALPHABETS.items():
        assert len(set(alphabet)) == len(alphabet) == size - 1
    assert "+" in jukebox_labels.ALPHABETS[80] and "+" not in jukebox_labels.ALPHABETS[79]


def test_accents_go_and_strange_characters_with_them():
    assert jukebox_labels.characters("Café €+", 79).tolist() == jukebox_labels.characters("Cafe ", 79).tolist()
    with pytest.raises(ValueError, match="lyric_vocabulary=9: must be one of 79, 80"):
        jukebox_labels.characters("a", 9)


@pytest.mark.parametrize(("offset", "first"), [(0, 0), (300, 15), (600, 45), (900, 60)])
def test_a_window_of_lyrics_is_around_the_middle_of_the_audio(offset, first):
    """100 characters over 1000 samples, 40 of them for 100 samples."""
    found = jukebox_labels.window(np.arange(100, dtype=np.int32), 40, 1000, offset, 100)
    assert found.tolist() == list(range(first, first + 40))


def test_short_lyrics_stand_behind_zeros():
    assert jukebox_labels.window(np.int32([5, 6]), 4, 1000, 500, 100).tolist() == [0, 0, 5, 6]


def names(tmp_path, kind):
    for label, table in {
        "artist": {"alan jackson": 2, "alan_jackson.v2": 4},
        "genre": {"country rock": 3, "country.v2": 1, "rock.v2": 5},
    }.items():
        (tmp_path / f"{label}s.json").write_text(json.dumps(table))
    (tmp_path / "top").mkdir(exist_ok=True)
    return jukebox_labels.read_names(str(tmp_path / "top"), jukebox_models.model_config(kind))


def test_older_priors_know_words_of_genres(tmp_path):
    found = names(tmp_path, "5b")
    assert found.artist("Alan Jackson") == 4
    assert found.genres("Country Rock", 3).tolist() == [1, 5, -1]
    assert found.genres("", 3).tolist() == [0, -1, -1]
    assert found.genres("Country-Rock!", 3).tolist() == [1, 5, -1]


def test_newer_priors_know_whole_genres(tmp_path):
    found = names(tmp_path, "1b_lyrics")
    assert found.artist("Alan Jackson") == 2
    assert found.genres("Country Rock", 1).tolist() == [3]
    assert (found.artist(""), found.artist("3")) == (0, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Alan Jakson", r"no such artist; did you mean alan_jackson\.v2\?; or pass a number from 0 to 4"),
        ("5", "artist='5': no such artist"),
        ("9" * 5000, "no such artist"),
    ],
)
def test_unknown_names_are_refused(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        names(tmp_path, "5b").artist(name)


def test_without_a_file_a_number_does(tmp_path):
    found = jukebox_labels.read_names(str(tmp_path), jukebox_models.model_config("5b"))
    assert found.artist("4") == 4
    with pytest.raises(ValueError, match=r"artists\.json is not there"):
        found.artist("Alan Jackson")
    with pytest.raises(ValueError, match="4 words, and the prior takes 3"):
        found.genres("1 2 3 4", 3)
