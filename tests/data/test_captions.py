"""Captions from files of text and JSON, and what is told where there are none."""

import json

import pytest

from musicgen_jax.data import captions
from musicgen_jax.data.captions import Caption
from musicgen_jax.runtime.errors import NotFoundError, UserError


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.caption.txt", "A calm  piano\npiece. \n", Caption("text", "A calm piano piece.")),
        ("x.caption.txt", b"\xef\xbb\xbfd\xc3\xa9j\xc3\xa0".decode("utf-8"), Caption("text", "déjà")),
        ("x.JSON", '{"caption": "slow", "text": "other"}', Caption("json", "slow")),
        ("x.json", '{"description": "fast", "bpm": 120.0, "genre": null}', Caption("json", "fast", {"bpm": "120"})),
        (
            "x.json",  # as those that MusicGen was trained with
            json.dumps(
                {
                    "key": "",
                    "artist": "Voyager",
                    "sample_rate": 48000,
                    "file_extension": "wav",
                    "description": None,
                    "keywords": ["bright", " pulsing"],
                    "duration": 15.0,
                    "bpm": "",
                    "genre": "electronic",
                    "title": "Enracinement",
                    "name": "electro_1",
                    "instrument": "Mix",
                    "moods": ["uplifting"],
                }
            ),
            Caption(
                "json",
                "",
                {
                    "title": "Enracinement",
                    "artist": "Voyager",
                    "genre": "electronic",
                    "moods": "uplifting",
                    "keywords": "bright, pulsing",
                    "instrument": "Mix",
                },
            ),
        ),
    ],
)
def test_files(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert captions.read(str(tmp_path / name)) == (expected, "")


def test_an_older_encoding_is_read_and_said(tmp_path):
    (tmp_path / "x.caption.txt").write_bytes("Flöte".encode("latin-1"))
    assert captions.read(str(tmp_path / "x.caption.txt")) == (
        Caption("text", "Flöte"),
        "no UTF-8, read as Windows-1252",
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.caption.txt", b" \n", "no caption: the file has no words"),
        ("x.caption.txt", b"a\0b", "no text: it has bytes of 0"),
        ("x.caption.txt", b"a " * 2000, "too long: 3999 characters, of at most 2000"),
        ("x.caption.txt", b"a " * 40_000, "too large: 80000 bytes of a caption; at most 65536 are read"),
        ("x.json", b"{", "x.json"),
        ("x.json", b"[1]", "it must hold a JSON object, not list"),
        ("x.json", b'{"sample_rate": 3, "genre": true}', "it has none of caption, description, text, title"),
        ("x.json", b'{"genre": {"a": 1}, "moods": [{}]}', "it has none of caption"),
    ],
)
def test_what_is_no_caption_is_told(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        captions.read(str(tmp_path / name))
    with pytest.raises(NotFoundError):
        captions.read(str(tmp_path / "none.json"))


def test_what_is_told_of_a_track():
    labels = {"genre": "jazz", "artist": "unknown"}
    about = "genre: rock. bpm: 99"
    whole = Caption("json", "Loud.", {"genre": "rock", "bpm": "99"})
    assert captions.told(whole, labels) == ("Loud.", f"Loud. {about}", about)
    assert captions.told(Caption("json", "", whole.fields), labels) == (about,)
    assert captions.told(Caption("text", "Loud"), labels) == ("Loud", "Loud. genre: jazz", "genre: jazz")
    assert captions.told(Caption("text", "Loud"), {}) == ("Loud",)
    assert captions.told(captions.NONE, labels) == ("genre: jazz",)
    assert captions.told(captions.NONE, {}) == ("",)


def test_tags_with_a_title_are_one():
    labels = {"genre": "jazz", "artist": "unknown"}
    assert captions.of_tags(" Blue\nsong ", labels) == Caption("tags", "", {"title": "Blue song", "genre": "jazz"})
    assert captions.told(captions.of_tags("Blue", labels), labels) == ("title: Blue. genre: jazz",)
    assert captions.of_tags("", labels) == captions.NONE
