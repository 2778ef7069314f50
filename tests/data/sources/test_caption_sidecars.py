"""Captions beside recordings: what is taken for one, and what for lyrics."""

import json

import numpy as np
import pytest
import soundfile

from musicgen_jax.codes import provenance
from musicgen_jax.data import captions, manifest, preparation
from musicgen_jax.data.sources import recordings
from musicgen_jax.runtime.errors import UserError

RATE = 4000


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for index, name in enumerate("abcdef"):
        soundfile.write(folder / f"{name}.wav", np.random.default_rng(index).standard_normal(2 * RATE) * 0.1, RATE)
    (folder / "a.caption.txt").write_text("a calm piano")
    (folder / "a.txt").write_text("la la la")
    (folder / "b.JSON").write_text(json.dumps({"description": "loud drums", "genre": "rock"}))
    (folder / "c.txt").write_text("words of c")
    (folder / "d.txt").write_text("words of d")
    (folder / "d.lrc").write_text("[00:01.00]sung")
    (folder / "e.json").write_text('{"colour": "red"}')
    return folder


def prepared(source, out, **options) -> dict[str, manifest.Row]:
    settings = preparation.Settings("recordings", str(source), RATE, 0, options=options)
    preparation.prepare(settings, recordings, str(out), num_workers=0)
    return {row.path[0]: row for row in manifest.read(out)}


def test_recordings_have_the_captions_beside_them(source, tmp_path):
    rows = prepared(source, tmp_path / "out")
    assert {name: row.caption for name, row in rows.items() if row.caption.kind} == {
        "a": captions.Caption("text", "a calm piano"),
        "b": captions.Caption("json", "loud drums", {"genre": "rock"}),
    }
    assert [row.lyrics.kind for _, row in sorted(rows.items())] == ["txt", "", "txt", "lrc", "", ""]
    assert rows["e"].warning.startswith("caption left out: e.json: no caption: it has none of caption, desc")
    assert all(not row.warning for name, row in rows.items() if name != "e")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["captions"] == {
        "": {"tracks": 4, "characters": 0},
        "json": {"tracks": 1, "characters": 10},
        "text": {"tracks": 1, "characters": 12},
    }
    assert report["warnings"] == {"caption left out": 1}
    assert "caption" not in json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[5])
    assert recordings.notes(str(source))["ignored_files"] == {".txt": 1}  # of d, whose lyrics have times


def test_files_of_text_may_be_captions(source, tmp_path):
    rows = prepared(source, tmp_path / "out", txt="caption")
    texts = {name: row.caption.text for name, row in rows.items()}
    assert texts == {"a": "a calm piano", "b": "loud drums", "c": "words of c", "d": "words of d", "e": "", "f": ""}
    assert [name for name, row in rows.items() if row.lyrics.kind] == ["d"]
    with pytest.raises(UserError, match=r"txt=song: what x\.txt beside x\.wav is must be one of lyrics, caption"):
        prepared(source, tmp_path / "other", txt="song")


def test_another_caption_is_another_data_set(source, tmp_path):
    prepared(source, tmp_path / "out")
    before = recordings.notes(str(source))["listing_hash"]
    (source / "a.caption.txt").write_text("a calm piano, slow")
    assert recordings.notes(str(source))["listing_hash"] != before
    prepared(source, tmp_path / "again")
    assert provenance.of_audio(str(tmp_path / "out")) != provenance.of_audio(str(tmp_path / "again"))


def test_titles_of_recordings_are_told_where_nothing_lies_beside_them(tmp_path):
    (tmp_path / "in").mkdir()
    for index, name in enumerate(("a.wav", "b.flac", "c.ogg", "d.mp3", "e.wav")):
        with soundfile.SoundFile(tmp_path / "in" / name, "w", 8000, 1) as file:
            file.title, file.artist, file.genre = f"Blue {index}", "Trane", "Jazz"
            file.write(np.random.default_rng(index).standard_normal(16000) * 0.1)
    (tmp_path / "in" / "e.caption.txt").write_text("a saxophone")
    rows = prepared(tmp_path / "in", tmp_path / "out")
    for index, name in enumerate("abcd"):
        expected = {"title": f"Blue {index}", "artist": "Trane", "genre": "Jazz"}
        assert rows[name].caption == captions.Caption("tags", "", expected)
    assert rows["e"].caption == captions.Caption("text", "a saxophone")
