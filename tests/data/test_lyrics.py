"""Text and LRC files -> characters and when they are sung."""

import itertools
import time

import numpy as np
import pytest

from musicgen_jax.data import lyrics
from musicgen_jax.runtime.errors import NotFoundError, UserError

SECONDS = 60.0


def words_at(text: str) -> list[tuple[float, str]]:
    """(time, word) of the words of a text."""
    found = lyrics.parse(text, SECONDS)
    starts = [i for i in range(len(found)) if found.text[i].strip() and (i == 0 or not found.text[i - 1].strip())]
    return [(round(float(found.times[i]), 3), found.text[i:].split()[0]) for i in starts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two", [(0.0, "one"), (34.286, "two")]),  # seven characters over a minute
        ("[00:10.00]one\n[00:12.50]two", [(10.0, "one"), (12.5, "two")]),
        ("[1:01.5]late\n[00:10]early", [(10.0, "early"), (61.5, "late")]),
        ("[00:10.00][00:20.00]again\n[00:12.00]once", [(10.0, "again"), (12.0, "once"), (20.0, "again")]),
        ("[ti:A title]\n[offset:+500]\n[00:10.00]one", [(9.5, "one")]),
        ("[00:10.00]one\n[offset: -250 ]", [(10.25, "one")]),
        ("[00:01.00]<00:01.20>one <00:03.00>two<00:03.50>\n[00:09.00]x", [(1.2, "one"), (3.0, "two"), (9.0, "x")]),
        ("[00:01.00][00:11.00]<00:01.20>one <00:02.00>two", [(1.2, "one"), (2.0, "two"), (11.2, "one"), (12.0, "two")]),
        ("[00:10.00]one\nmore\n[00:11.60]two", [(10.0, "one"), (10.711, "more"), (11.6, "two")]),
        ("[00:10.00]one", [(10.0, "one")]),
        ("[00:00.20]one\n[offset:900]", [(0.0, "one")]),
    ],
)
def test_times(text, expected):
    assert words_at(text) == expected


def test_characters_are_spread_between_times():
    found = lyrics.parse("[00:02.00]abc\n[00:03.00]\n[00:10.00]de", SECONDS)
    assert found.text == "abc\nde\n"
    np.testing.assert_allclose(found.times, [2, 2.25, 2.5, 2.75, 10, 10.25, 10.5])  # the last line at the usual pace


def test_a_character_does_not_last_through_an_interlude():
    found = lyrics.parse("[00:02.00]abc\n[00:50.00]d", SECONDS)
    np.testing.assert_allclose(found.times[:4], [2, 2.5, 3, 3.5])


def _tag(seconds: float) -> str:
    return f"{int(seconds // 60):02d}:{seconds % 60:05.2f}"


def test_times_never_fall_and_stretches_join():
    rng = np.random.default_rng(0)
    lines = [f"[{_tag(at)}]<{_tag(at)}>word <{_tag(at + 3)}>end" for at in rng.uniform(0, 290, 50)]
    found = lyrics.parse("\n".join(lines), 300.0)
    assert len(found.text) == len(found.times) == 50 * 9 and (np.diff(found.times) >= 0).all()
    bounds = [-np.inf, 10.0, 77.7, 200.0, np.inf]
    parts = [found.within(*pair) for pair in itertools.pairwise(bounds)]
    assert lyrics.joined(parts).text == found.text
    np.testing.assert_array_equal(lyrics.joined(parts).times, found.times)
    assert all(part.times.max(initial=bounds[i]) < bounds[i + 1] for i, part in enumerate(parts))


@pytest.mark.parametrize(
    ("content", "doubt"),
    [
        ("Füße über".encode(), ""),
        ("\ufeffFüße über".encode(), ""),
        ("Füße über".encode("utf-16"), ""),
        ("\ufeffFüße über".encode("utf-16-be"), ""),
        ("Füße über".encode("latin-1"), "no UTF-8, read as Windows-1252"),
        ("Fu\u0308ße u\u0308ber".encode(), ""),  # decomposed
    ],
)
def test_encodings(content, doubt):
    text, found = lyrics.decoded(content)
    assert (lyrics.parse(text, SECONDS).text, found) == ("Füße über", doubt)


def test_lines_end_as_they_may():
    assert lyrics.parse("one\r\ntwo\rthree\tfour\x07\n\n", SECONDS).text == "one\ntwo\nthree four"


def test_what_cannot_be_lyrics_is_refused(tmp_path):
    with pytest.raises(UserError, match="no text: it has bytes of 0"):
        lyrics.decoded(b"RIFF\0\0\0\0WAVE")
    with pytest.raises(NotFoundError, match="no such file of lyrics"):
        lyrics.read(tmp_path / "none.txt")
    (tmp_path / "long.txt").write_text("la " * (1 << 19))
    with pytest.raises(UserError, match="too large: 1572864 bytes"):
        lyrics.read(tmp_path / "long.txt")
    with pytest.raises(UserError, match="over 131072 characters"):
        lyrics.parse("[00:01.00]" * 10_000 + "fourteen words", SECONDS)


def test_untimed_lines_without_end_are_refused_at_once():
    text = "[00:01.00]la\n" + "x\n" * 500_000
    started = time.monotonic()
    with pytest.raises(UserError, match="too many words"):
        lyrics.parse(text, 60.0)
    assert time.monotonic() - started < 30  # minutes, where each line copies those before it
    assert lyrics.parse("[00:01.00]la\nli\nlo", 60.0).text == "la\nli\nlo\n"


def test_folding_keeps_the_number_of_characters():
    text = "AÄß ﬁ İ Ⅷ 歌½"
    assert len(lyrics.folded(text)) == len(text) and lyrics.folded("AÄ 歌") == "aä 歌"


def test_words_alone_are_what_published_priors_read():
    assert lyrics.words("[00:02.00]b\n[00:01.00]<00:01.10>a <00:01.50>c") == "a c\nb\n"
    assert lyrics.words("A plain\ttext\n") == "A plain\ttext\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mei-ne See-le", ["Mei", "ne ", "See", "le "]),
        ("[00:01.00]Mei-ne <00:02.00>See<00:03.00>le<00:04.00>", ["Mei", "ne ", "See", "le "]),
        ("[00:01.00]one two\n[00:02.00]three", ["one ", "two ", "three "]),
        ("", []),
        (" - ", []),
    ],
)
def test_syllables(text, expected):
    found = lyrics.syllables(text, 10.0)
    assert [syllable for _, syllable in found] == expected
    assert sorted(found, key=lambda syllable: syllable[0]) == list(found)


def test_what_is_written_is_read():
    pieces = [(0.25, "Mei"), (0.5, "ne "), (61.25, "See")]
    found = lyrics.parse(lyrics.to_lrc(pieces, 62.0), 70.0)
    assert found.text == "Meine See\n"
    np.testing.assert_allclose(found.times[[0, 3, 6]], [0.25, 0.5, 61.25])
    assert lyrics.syllables(lyrics.to_lrc(pieces, 62.0), 70.0) == ((0.25, "Mei"), (0.5, "ne "), (61.25, "See "))
