"""Made-up songs: the same for the same seed, and each note sings the vowel of its syllable."""

import numpy as np
import pytest

from musicgen_jax.data import lyrics
from musicgen_jax.data.sources import syllables
from musicgen_jax.ddsp import timbres
from musicgen_jax.runtime.errors import UserError


def test_tracks_have_scores_and_words():
    tracks, rejected = syllables.tracks("", 8000, 3, 0, num_songs=4)
    again, _ = syllables.tracks("", 8000, 3, 2, num_songs=4)
    others, _ = syllables.tracks("", 8000, 4, 0, num_songs=4)
    assert not rejected and [one.hash for one in tracks] == [one.hash for one in again]
    assert len({one.hash for one in (*tracks, *others)}) == 8
    for item in tracks:
        assert (item.score_kind, item.lyrics_kind, len(item.score.notes)) == ("exact", "exact", syllables.NOTES)
        # The first character of each syllable begins with its note.
        starts = [place for place, one in enumerate(item.lyrics.text) if one in syllables.CONSONANTS]
        np.testing.assert_allclose(item.lyrics.times[starts], item.score.notes[:, 1], atol=1e-4)
        assert item.duration == pytest.approx(item.score.seconds, abs=1e-3)
    assert syllables.notes("") == syllables.notes("")
    with pytest.raises(UserError, match="source=x: the songs of the dataset syllables are made up"):
        syllables.tracks("x", 8000, 0, 0)


@pytest.mark.long
def test_words_decide_what_is_heard():
    song = syllables.made_up(np.random.default_rng(0), 6)
    other = syllables.Song(
        song.notes, tuple(one[0] + "aeiou"["ieoua".index(one[1])] + one[2:] for one in song.syllables)
    )
    consonants = syllables.Song(song.notes, tuple("b" + one[1:] for one in song.syllables))
    audio, changed, same = (syllables.render(one, 8000) for one in (song, other, consonants))
    np.testing.assert_array_equal(audio, same)
    for (_, onset, length, _), before, after in zip(song.notes, song.syllables, other.syllables, strict=True):
        part = slice(round((onset + 0.4 * length) * 8000), round((onset + 0.8 * length) * 8000))
        assert (np.abs(audio[part] - changed[part]).max() < 1e-3) == (before[1] == after[1])


def test_the_vowels_are_those_of_the_synthesizer():
    assert len(syllables.VOWELS) == len(timbres.VOWELS)
    assert lyrics.parse(syllables.made_up(np.random.default_rng(1)).lrc, 20.0).text.strip()
