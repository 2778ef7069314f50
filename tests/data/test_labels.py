import pytest

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
