"""Source `lakh`: the three layouts, groups of versions of one song, and what plays them."""

import hashlib
import json
import pathlib
import shutil

import numpy as np
import pretty_midi
import pytest

from musicgen_jax.codes import score_reader
from musicgen_jax.data import manifest, preparation, shards, soundfont
from musicgen_jax.data.sources import lakh
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

SHARED = pathlib.Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
SOUNDFONT = pathlib.Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"
TRACK = "TRAAAGR128F425B14B"


def song(seed: int, length: int = 60) -> Score:
    """A melody over a bass that is its own: quarters of half a second."""
    rng = np.random.default_rng(seed)
    onsets = np.arange(length) / 2
    parts = [
        np.stack([low + rng.integers(-9, 10, length), onsets, np.full(length, 0.45), np.full(length, 80),
                  np.full(length, part)], axis=1)
        for part, low in enumerate((72, 48))
    ]  # fmt: skip
    return Score(np.concatenate(parts), np.arange(length + 1) / 2)


def put(folder: pathlib.Path, score: Score, name: str = "") -> str:
    """Writes a MIDI file, by its MD5 unless it has a name; the MD5."""
    content = midi.to_bytes(score)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = folder / (name or f"{md5}.mid")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return md5


def found(source: pathlib.Path, num_workers: int = 0, **options: str):
    tracks, rejected = lakh.tracks(str(source), 8000, 0, num_workers, **options)
    return {item.track_id: item for item in tracks}, {item.path: item.reason for item in rejected}


@pytest.mark.long
def test_versions_of_a_song_are_one_group(tmp_path):
    one, other, third = song(0), song(1), song(2)
    names = {
        "one": f"0/{put(tmp_path / '0', one)}.mid",
        "higher and slower": f"1/{put(tmp_path / '1', one.transposed(3).stretched(1.25))}.mid",
        "the melody alone": f"2/{put(tmp_path / '2', Score(one.of_part(0), one.quarters))}.mid",
        "other": f"3/{put(tmp_path / '3', other)}.mid",
        "matched": f"4/{put(tmp_path / '4', third)}.mid",
    }
    tracks, rejected = found(tmp_path)
    assert set(tracks) == set(names.values()) and not rejected
    groups = {name: tracks[path].group for name, path in names.items()}
    assert groups["one"] == groups["higher and slower"] == groups["the melody alone"]
    assert len(set(groups.values())) == 3
    assert all(not item.warning and item.score is None and not item.labels for item in tracks.values())
    # What the published table of matches says goes beyond the notes.
    md5s = {name: pathlib.Path(path).stem for name, path in names.items()}
    matches = {TRACK: {md5s["other"]: 0.7, md5s["matched"]: 0.8}, "TRX": {md5s["one"]: 0.9}}
    (tmp_path / "match_scores.json").write_text(json.dumps(matches))
    (tmp_path / "unique_tracks.txt").write_text(f"{TRACK}<SEP>SOX<SEP>The Üs<SEP>Song\nTRX<SEP>SOY<SEP>the üs<SEP>B\n")
    again, _ = found(tmp_path, num_workers=2)
    assert len({again[path].group for path in names.values()}) == 1
    assert again[names["other"]].labels == {"artist": "The Üs"}


def test_the_matched_and_the_clean_layout(tmp_path):
    folder = tmp_path / "lmd_matched" / "A" / "A" / "A"
    put(folder / TRACK, song(0))
    put(folder / TRACK, song(1))
    put(folder / "TRAAAZZ128F425B14B", song(1))  # one file that matches two tracks
    put(folder / "TRAAAZZ128F425B14B", song(2))
    put(tmp_path / "clean_midi" / "Ann", song(3), "First.mid")
    put(tmp_path / "clean_midi" / "Ann", song(4), "Second.1.mid")
    put(tmp_path / "clean_midi" / "Ben", song(5), "Third.mid")
    tracks, rejected = found(tmp_path)
    assert len(tracks) == 6 and [reason.split(":")[0] for reason in rejected.values()] == ["the same notes as"]
    groups = {name: item.group for name, item in tracks.items()}
    assert len({group for name, group in groups.items() if "matched" in name}) == 1
    assert groups["clean_midi/Ann/First.mid"] == groups["clean_midi/Ann/Second.1.mid"]
    assert len(set(groups.values())) == 3
    assert tracks["clean_midi/Ben/Third.mid"].labels == {"artist": "Ben"}


def test_copies_under_other_names_tell_what_they_match(tmp_path):
    """Two files with the same notes and other bytes, neither named after them: a table may know either."""
    put(tmp_path / "clean_midi" / "Ann", song(0), "First.mid")
    put(tmp_path / "clean_midi" / "Ben", song(1), "Second.mid")
    copy = tmp_path / "clean_midi" / "Cid" / "First.mid"
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / "clean_midi" / "Ann" / "First.mid").read_bytes() + bytes(8))
    md5s = [
        hashlib.md5(path.read_bytes()).hexdigest() for path in (copy, tmp_path / "clean_midi" / "Ben" / "Second.mid")
    ]
    (tmp_path / "match_scores.json").write_text(json.dumps({TRACK: dict.fromkeys(md5s, 0.9)}))
    tracks, rejected = found(tmp_path)
    assert len(tracks) == 2 and list(rejected.values()) == ["the same notes as: clean_midi/Ann/First.mid"]
    assert len({item.group for item in tracks.values()}) == 1
    # A copy that is named after its own bytes says nothing of the first one's.
    (tmp_path / "lmd_full").mkdir()
    (tmp_path / "lmd_full" / f"{md5s[0]}.mid").write_bytes(copy.read_bytes())
    assert not any(item.warning for item in found(tmp_path)[0].values())


def test_files_that_are_broken_or_altered(tmp_path):
    put(tmp_path / "0", song(0))
    put(tmp_path / "0", song(1), "0" * 32 + ".mid")
    (tmp_path / "0" / ("1" * 32 + ".mid")).write_bytes(b"MThd" + bytes([0, 0, 0, 6, 0, 1, 0, 1, 0, 96]) + bytes(30))
    (tmp_path / "0" / ("2" * 32 + ".mid")).write_bytes(b"")
    put(tmp_path / "0", Score([[60, 0, 0.2, 80, 0]]), "3" * 32 + ".mid")
    tracks, rejected = found(tmp_path)
    assert sorted(item.warning.split(":")[0] for item in tracks.values()) == ["", "altered"]
    reasons = [rejected[f"0/{digit * 32}.mid"] for digit in "123"]
    for reason, words in zip(reasons, ("damaged MIDI", "0 bytes", "shorter than 1 s"), strict=True):
        assert words in reason
    assert len(rejected) == 3


def test_scores_for_composers(tmp_path):
    for seed in range(6):
        put(tmp_path / "lmd_full" / "0", song(seed))
    put(tmp_path / "lmd_full" / "0", song(0).transposed(2))
    settings = preparation.Settings("lakh", str(tmp_path / "lmd_full"), 8000, 0)
    report = preparation.prepare(settings, lakh, str(tmp_path / "out"), 0)
    assert report["files"] == {"ok": 7} and report["licence"]["tracks"] == {"CC-BY-4.0": 7}
    assert {"train", "validation", "test"} == set(shards.split_names(tmp_path / "out"))
    pieces = [piece for split in shards.split_names(tmp_path / "out")
              for piece in score_reader.read(str(tmp_path / "out"), split)]  # fmt: skip
    for piece in pieces:
        want = midi.read(tmp_path / "lmd_full" / piece.track_id, apply_sustain=True)
        np.testing.assert_array_equal(piece.score.notes, want.notes)
    splits = {row.track_id: row.split for row in manifest.read(tmp_path / "out")}
    keys = {name: lakh.read_facts(str(tmp_path / "lmd_full" / name)).sketch.tobytes() for name in splits}
    for name, split in splits.items():
        assert all(splits[other] == split for other in splits if keys[other] == keys[name])


def test_rendered_by_the_synthesizer(tmp_path):
    put(tmp_path / "0", song(0, 4))
    put(tmp_path / "0", song(1, 4).transposed(30))
    tracks, rejected = found(tmp_path, render="organ")
    (item,) = tracks.values()
    audio = np.concatenate(list(item.blocks()))
    assert item.labels == {"genre": "organ"} and len(audio) == round(item.duration * 8000)
    assert np.sqrt(np.mean(audio**2)) == pytest.approx(0.1, abs=0.02)
    assert next(iter(rejected.values())).startswith("pitch beyond the sample rate")


@pytest.mark.skipif(shutil.which(soundfont.PROGRAM) is None, reason="FluidSynth is not installed")
def test_rendered_by_fluidsynth(tmp_path):
    put(tmp_path / "0", song(0, 4))
    (item,) = found(tmp_path, soundfont=str(SOUNDFONT))[0].values()
    audio = np.concatenate(list(item.blocks()))
    np.testing.assert_array_equal(audio, np.concatenate(list(item.blocks())))
    assert item.sample_rate == 8000 and item.labels == {}
    assert item.duration <= len(audio) / 8000 <= item.duration + soundfont.TAIL_SECONDS
    assert 0.03 < np.sqrt(np.mean(audio**2)) <= 0.11
    quarter = len(audio) // 16
    assert np.std(audio[:quarter]) > 10 * np.std(audio[-quarter:])  # it plays, then it has died away


def test_bad_input(tmp_path, monkeypatch):
    put(tmp_path / "0", song(0, 4))
    (tmp_path / "x.sf2").write_bytes(b"no soundfont")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="needs the program fluidsynth, which is not on the PATH"):
        found(tmp_path, soundfont=str(tmp_path / "x.sf2"))
    monkeypatch.setattr(shutil, "which", lambda name: "/somewhere")
    with pytest.raises(UserError, match="is no soundfont: it begins with b'no soundfont'"):
        found(tmp_path, soundfont=str(tmp_path / "x.sf2"))
    with pytest.raises(UserError, match="pass one of them"):
        found(tmp_path, soundfont="x", render="organ")
    with pytest.raises(UserError, match="render=tuba: must be synthesizer"):
        found(tmp_path, render="tuba")
    with pytest.raises(UserError, match="source is empty; the dataset lakh needs"):
        lakh.tracks("", 8000, 0, 0)
    with pytest.raises(UserError, match="it holds no file that ends in"):
        (tmp_path / "empty").mkdir()
        found(tmp_path / "empty")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with the miniature is absent")
def test_the_published_layout():
    tracks, rejected = found(SHARED / "lmd_full")
    assert len(tracks) == 2 and not any(item.warning for item in tracks.values())
    assert list(rejected) == ["0/0123456789abcdef0123456789abcdef.mid"] and "damaged MIDI" in str(rejected)
