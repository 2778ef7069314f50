import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.data import labels
from musicgen_jax.runtime.errors import UserError

KNOWN = ("unknown", "Jazz", "Rock, Pop", 'the "real" thing', "Rock")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Jazz,Rock", ["Jazz", "Rock"]),
        ("Jazz, Rock", ["Jazz", "Rock"]),
        ("Rock, Pop", ["Rock, Pop"]),  # a name as a whole
        ('"Rock, Pop",Jazz', ["Rock, Pop", "Jazz"]),
        ('the "real" thing', ['the "real" thing']),
        ("", []),
    ],
)
def test_names_in_a_flag(text, names):
    assert labels.split(text, KNOWN) == names


def test_an_unknown_name_is_told_those_like_it():
    labels.require_known("genre", "Jazz", KNOWN)
    labels.require_known("genre", "", KNOWN)
    with pytest.raises(UserError, match=r'genre=jaz: .*did you mean Jazz\? .* unknown, Jazz, "Rock, Pop", the "real"'):
        labels.require_known("genre", "jaz", KNOWN)
    many = tuple(f"artist {number}" for number in range(1000))
    with pytest.raises(UserError) as caught:
        labels.require_known("artist", "Artist  77", many)
    assert "did you mean artist 77" in str(caught.value) and "1000 others" in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_vocabulary_is_of_the_most_frequent_values():
    values = ["b"] * 3 + ["a"] * 2 + ["c"] * 2 + ["d"] + ["unknown"] * 9
    assert labels.vocabulary(values) == ("unknown", "a", "b", "c", "d")
    assert labels.vocabulary(values, most=2) == ("unknown", "a", "b")  # of a and c the first
    assert labels.vocabulary(values, least_tracks=2) == ("unknown", "a", "b", "c")
    assert labels.vocabulary(values, most=1, least_tracks=4) == ("unknown",)


TRACKS = [{"pitch": "60", "genre": "a"}, {"pitch": "60", "artist": "x"}, {"pitch": "64", "family": "reed"}]


def test_a_model_is_told_the_labels_that_there_are_or_those_that_its_config_names():
    found = labels.resolve(config.PriorConfig(), TRACKS, "DIR")
    assert found["labels"] == ("genre", "artist", "family", "pitch")
    assert found["vocabularies"]["pitch"] == ("unknown", "60", "64")
    model = config.PriorConfig(labels=("pitch,family",), label_tracks=2)  # as an override on the command line has it
    found = labels.resolve(model, TRACKS, "DIR")
    assert found == {
        "labels": ("pitch", "family"),
        "vocabularies": {"pitch": ("unknown", "60"), "family": ("unknown",)},
    }
    model = config.PriorConfig(**found)
    assert labels.encode_all(TRACKS[0], model).tolist() == [1, 0] and labels.encode_all({}, model).tolist() == [0, 0]
    with pytest.raises(UserError, match=r"labels=velocity: DIR has no label velocity; it has genre, artist, family"):
        labels.resolve(config.PriorConfig(labels=("velocity",)), TRACKS, "DIR")
    with pytest.raises(UserError, match=r"labels=a b: 'a b' must be a name, such as genre"):
        config.PriorConfig(labels=("a b",)).validate()


def test_some_windows_are_told_a_label_as_unknown_each_by_itself():
    rng = np.random.default_rng(0)
    example = {"labels": np.int32([3, 5]), "start": np.int32(7)}
    told = np.stack([labels.partly_told(example, 0.25, rng)["labels"] for _ in range(4000)])
    assert told.dtype == np.int32 and set(map(tuple, told.tolist())) == {(3, 5), (0, 5), (3, 0), (0, 0)}
    np.testing.assert_allclose((told == 0).mean(axis=0), 0.25, atol=0.03)
    np.testing.assert_allclose((told == 0).all(axis=1).mean(), 0.25**2, atol=0.02)
    assert labels.partly_told(example, 0.0, rng) is example and example["labels"].tolist() == [3, 5]


def test_what_a_model_is_not_told_is_refused():
    known = {"pitch": ("unknown", "60"), "genre": ("unknown",)}
    labels.require_all_known({"pitch": "60", "genre": ""}, known)
    with pytest.raises(UserError, match="labels=pitch:61: unknown pitch; the prior was trained with unknown, 60"):
        labels.require_all_known({"pitch": "61"}, known)
    with pytest.raises(UserError, match=r"labels=family:reed: the prior is told no family; .* told: pitch, genre"):
        labels.require_all_known({"family": "reed"}, known)
    with pytest.raises(UserError, match="artist=x: the prior is told no artist"):
        labels.require_all_known({"artist": "x"}, known)
