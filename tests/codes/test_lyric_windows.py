"""Lyrics in code shards, and as a prior reads them in its windows."""

import dataclasses

import numpy as np
import pytest
import tiny_priors

from musicgen_jax import config
from musicgen_jax.codes import code_dataset, code_shards, lyric_windows
from musicgen_jax.data import lyric_facts, lyrics, manifest, preparation, shards
from musicgen_jax.data.sources import recordings
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.tokenizers import extraction

MODEL = tiny_priors.model_config(lyrics=True, characters=tuple("\n abcl"), lyrics_margin=0.5)  # 1.2 s a window


def test_a_window_has_the_characters_around_it():
    sung = lyrics.parse("[00:00.00]ab\n[00:02.00]CxL\n[00:02.80]\n[00:09.00]c", 20.0)
    found = lyric_windows.window(MODEL, sung, 1.0, 8)
    # From 0.5 s to 2.7 s.
    told = sung.within(0.5, 2.7)
    assert told.text == "b\nCxL\n"
    assert found["lyrics"].tolist() == [4, 1, 5, 0, 6, 1, -1, -1]  # what the vocabulary lacks is 0
    np.testing.assert_allclose(found["lyric_times"][:6], (told.times - 1.0) * 10, rtol=1e-6)
    assert found["worded"] and not lyric_windows.window(MODEL, None, 1.0, 8)["worded"]


def test_of_too_many_those_in_the_middle_are_told():
    sung = lyrics.Lyrics("a" * 40, np.linspace(0, 4, 40, endpoint=False, dtype=np.float32))
    found = lyric_windows.window(MODEL, sung, 1.0, 4)
    np.testing.assert_allclose(found["lyric_times"], [4, 5, 6, 7], rtol=1e-5)  # of 12 frames


def test_all_windows_of_some_pieces_share_a_size():
    sung = lyrics.parse("[00:00.00]" + "ab" * 40 + "\n[00:01.00]\n[00:30.00]c", 40.0)
    model = dataclasses.replace(MODEL, lyric_tokens=16)
    shapes = {lyric_windows.of_windows(model, [sung], [begin])["lyrics"].shape for begin in (0.0, 10.0, 29.5)}
    assert shapes == {(1, 96)}
    assert lyric_windows.of_windows(model, [None], [0.0])["lyrics"].shape == (1, 16)


def test_the_vocabulary_is_of_the_characters_of_most_tracks(monkeypatch):
    tracks = [lyric_facts.of(lyrics.parse(text, 1.0), "txt") for text in ("Aba", "bc", "bca", "d")]
    assert lyric_windows.vocabulary(tracks) == ("a", "b", "c", "d")
    monkeypatch.setattr(lyric_windows, "MAX_VOCABULARY", 2)
    assert lyric_windows.vocabulary(tracks) == ("a", "b")


def test_a_few_characters_are_taken_for_unknown():
    example = {"lyrics": np.concatenate([np.full(10_000, 3), np.full(100, -1)]).astype(np.int32)}
    taken = lyric_windows.with_others(example, np.random.default_rng(0))["lyrics"]
    assert 50 < (taken == 0).sum() < 200 and (taken[10_000:] == -1).all() and (example["lyrics"] != 0).all()


RATE = 4000
LRC = "\n".join(f"[00:{second:02d}.00]la {second} la" for second in range(0, 24, 2))


@pytest.fixture(scope="module")
def sung_data(tmp_path_factory) -> str:
    """Four recordings of 25 s: with an .lrc, with a .txt, with neither."""
    import soundfile

    root = tmp_path_factory.mktemp("sung")
    (root / "in").mkdir()
    for index, name in enumerate("abcd"):
        audio = np.random.default_rng(index).standard_normal(25 * RATE) * 0.1
        soundfile.write(root / "in" / f"{name}.wav", audio, RATE)
    for name in "ab":
        (root / "in" / f"{name}.lrc").write_text(LRC)
    (root / "in" / "c.txt").write_bytes("où où où où".encode("latin-1"))
    settings = preparation.Settings("recordings", str(root / "in"), RATE, 0)
    preparation.prepare(settings, recordings, str(root / "audio"), 0)
    return str(root / "audio")


@pytest.fixture(scope="module")
def sung_codes(sung_data, tiny_tokenizer, tmp_path_factory) -> str:
    out = str(tmp_path_factory.mktemp("sung_codes") / "codes")
    extraction.extract(tiny_tokenizer, sung_data, out, window_seconds=5.0)
    return out


def test_records_hold_what_is_sung_in_them(sung_data):
    rows = {row.path: row for row in manifest.read(sung_data)}
    kinds = {path: row.lyrics.kind for path, row in rows.items()}
    assert kinds == {"a.wav": "lrc", "b.wav": "lrc", "c.wav": "txt", "d.wav": ""}
    assert rows["c.wav"].warning == "lyrics doubtful: c.txt: no UTF-8, read as Windows-1252"
    whole = lyrics.parse(LRC, 25.0)
    records = [
        record
        for split in shards.split_names(sung_data)
        for record in shards.open_split(sung_data, split, shards.audio_features(lyrics=True))
        if record["track_id"] == b"a.wav"
    ]
    assert [(record["start"], len(record["lyrics"])) for record in records] == [(0, 40), (40_000, 45), (80_000, 18)]
    assert b"".join(record["lyrics"] for record in records).decode() == whole.text
    np.testing.assert_array_equal(np.concatenate([record["lyric_times"] for record in records]), whole.times)


def test_codes_carry_the_lyrics(sung_data, sung_codes):
    rows = {row.track_id: row for row in manifest.read(sung_data)}
    for split in shards.split_names(sung_codes):
        tracks = code_shards.Tracks(sung_codes, split)
        for index, entry in enumerate(tracks.entries):
            assert entry.lyrics == rows[entry.track_id].lyrics
            found = tracks.lyrics(index, -np.inf, np.inf)
            text = {"lrc": lyrics.parse(LRC, 25.0).text, "txt": "où où où où", "": ""}[entry.lyrics.kind]
            assert found.text == text
            part = tracks.lyrics(index, 8.0, 12.0)  # over the border of two records
            assert part.text == found.within(8.0, 12.0).text


def test_windows_are_told_the_lyrics(sung_codes):
    asked = config.PriorConfig(tier="top", context=64, lyrics=True, lyrics_dropout=0.1)
    model = code_dataset.resolve(asked, sung_codes)
    assert set("la \n") <= set(model.characters) and model.lyric_tokens % 16 == 0
    windows = code_dataset.Windows(sung_codes, "train", model)
    for track, entry in enumerate(windows.entries):
        example = windows.window(track, 96)
        begin = 96 * windows.hop_length / RATE
        told = windows.tracks.lyrics(track, -np.inf, np.inf).within(*lyric_windows.stretch(model, begin))
        there = example["lyrics"] >= 0
        assert there.sum() == len(told) and bool(example["worded"]) == bool(entry.lyrics.kind)
        text = "".join(model.characters[number - 1] for number in example["lyrics"][there])
        assert text == lyrics.folded(told.text)
    other = dataclasses.replace(model, lyrics=False)
    assert "lyrics" not in code_dataset.Windows(sung_codes, "train", other).window(0, 0)


def test_a_prior_that_could_not_learn_to_be_told_is_refused(sung_codes, tiny_codes):
    with pytest.raises(UserError, match=r"has no lyrics of its training tracks: prepare recordings with \.lrc"):
        code_dataset.resolve(config.PriorConfig(tier="top", context=64, lyrics=True), tiny_codes)
    # Where a track without lyrics is among those of training, some windows must be told none.
    train = [entry for entry in code_shards.read_index(sung_codes) if entry.split == "train"]
    assert sum(not entry.lyrics.kind for entry in train) == 1
    with pytest.raises(UserError, match=rf"lyrics_dropout=0: 1 of {len(train)} training tracks"):
        code_dataset.resolve(config.PriorConfig(tier="top", context=64, lyrics=True), sung_codes)
