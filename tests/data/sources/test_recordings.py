"""Source `recordings`: what is kept, what is rejected and why."""

import errno
import os
import pathlib
import socket

import numpy as np
import pytest
import soundfile

from musicgen_jax.data import audio_io, workers
from musicgen_jax.data.sources import recordings

RATE = 16000
SHARED = pathlib.Path(__file__).resolve().parents[3] / ".." / "shared" / "data"


def noise(seconds: float = 2.0, channels: int = 1, seed: int = 0) -> np.ndarray:
    shape = (int(seconds * RATE), channels)
    return (np.random.default_rng(seed).standard_normal(shape) * 0.1).astype(np.float32)


def put(folder: pathlib.Path, name: str, audio: np.ndarray, tags: dict[str, str] | None = None, **options) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", RATE, audio.shape[1], **options) as file:
        for key, value in (tags or {}).items():
            setattr(file, key, value)
        file.write(audio)


def scan(folder: pathlib.Path, num_workers: int = 0):
    tracks, rejections = recordings.tracks(str(folder), 8000, seed=0, num_workers=num_workers)
    return tracks, {item.path: item.reason for item in rejections}


def test_every_bad_file_is_rejected_with_its_reason(tmp_path):
    put(tmp_path, "good.wav", noise())
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("this is no music " * 50)
    put(tmp_path, "cut.mp3", noise(6.0))
    data = (tmp_path / "cut.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(data[: len(data) // 2])
    put(tmp_path, "cut.flac", noise(6.0, seed=1))
    data = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) // 2])
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        broken = noise(seed=2)
        broken[100] = value
        put(tmp_path, f"{name}.wav", broken, subtype="FLOAT")
    put(tmp_path, "seven.wav", noise(channels=7))
    put(tmp_path, "short.wav", noise(0.9))
    put(tmp_path, "silent.wav", noise() * 1e-4)
    stereo = noise(seed=3)
    put(tmp_path, "cancelling.wav", np.concatenate([stereo, -stereo], axis=1), subtype="FLOAT")
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "gone.wav")
    tracks, reasons = scan(tmp_path)
    assert [item.path for item in tracks] == ["good.wav"]
    categories = {path: reason.split(":")[0] for path, reason in reasons.items()}
    assert categories == {
        "empty.wav": "0 bytes",
        "text.mp3": "undecodable",
        "cut.mp3": "truncated",
        "cut.flac": "truncated or damaged",
        "nan.wav": "NaN or infinite samples",
        "infinite.wav": "NaN or infinite samples",
        "seven.wav": "more than 2 channels",
        "short.wav": "too short",
        "silent.wav": "silent",
        "cancelling.wav": "silent",
        "dangling.wav": "unreadable",
    }
    assert "it has 7" in reasons["seven.wav"] and "0.90 s" in reasons["short.wav"]


def test_duplicates_in_any_container_keep_the_first_path(tmp_path):
    audio = (noise() * 10000).astype(np.int16)
    put(tmp_path, "b/one.wav", audio, subtype="PCM_16")
    put(tmp_path, "a/two.flac", audio, subtype="PCM_16")
    put(tmp_path, "c/stereo.wav", np.repeat(audio, 2, axis=1), subtype="PCM_16")
    put(tmp_path, "d/other.wav", noise(seed=1))
    tracks, reasons = scan(tmp_path)
    assert [item.path for item in tracks] == ["a/two.flac", "d/other.wav"]
    assert reasons == {
        "b/one.wav": "exact duplicate of: a/two.flac",
        "c/stereo.wav": "exact duplicate of: a/two.flac",
    }


def test_labels_come_from_tags_then_folders(tmp_path):
    put(tmp_path, "jazz/tagged.FLAC", noise(), {"artist": "Ann", "genre": "Swing"}, format="FLAC")
    put(tmp_path, "jazz/plain.Mp3", noise(seed=1), format="MP3")
    put(tmp_path, "root.ogg", noise(seed=2), format="OGG")
    (tmp_path / "cover.jpg").touch()
    (tmp_path / "README").touch()
    tracks, reasons = scan(tmp_path)
    assert reasons == {}
    assert {item.path: item.labels for item in tracks} == {
        "jazz/plain.Mp3": {"artist": "unknown", "genre": "jazz"},
        "jazz/tagged.FLAC": {"artist": "Ann", "genre": "Swing"},
        "root.ogg": {"artist": "unknown", "genre": "unknown"},
    }
    assert recordings.notes(str(tmp_path))["ignored_files"] == {"(none)": 1, ".jpg": 1}


def test_doubtful_files_are_kept_with_a_warning(tmp_path):
    put(tmp_path, "clipped.wav", np.clip(noise() * 20, -1, 1))
    quiet = noise(4.0)
    quiet[RATE:] = 0
    put(tmp_path, "pause.wav", quiet)
    put(tmp_path, "sound.wav", noise(seed=1))
    tracks, _ = scan(tmp_path)
    warnings = [item.warning.split(":")[0] for item in tracks]
    assert warnings == ["clipped", "mostly silent", ""]
    assert "75% of the time" in tracks[1].warning


def test_links_and_strange_names(tmp_path):
    put(tmp_path / "real", "a.wav", noise())
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "linked").mkdir()
    put(tmp_path / "elsewhere", "b.wav", noise(seed=1))
    with open(bytes(tmp_path / "linked") + b"/\xff.wav", "wb") as file:
        file.write((tmp_path / "elsewhere" / "b.wav").read_bytes())
    (tmp_path / "linked" / "to").symlink_to(tmp_path / "elsewhere")
    tracks, reasons = scan(tmp_path)
    assert [item.path for item in tracks] == ["elsewhere/b.wav", "real/a.wav"]
    assert reasons == {"linked/\\xff.wav": "exact duplicate of: elsewhere/b.wav"}


def test_what_is_no_file_is_rejected_unopened(tmp_path):
    put(tmp_path, "good.wav", noise())
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    (tmp_path / "self.wav").symlink_to("self.wav")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.wav"))
        tracks, reasons = scan(tmp_path)
    assert [item.path for item in tracks] == ["good.wav"]
    assert reasons == {
        "fifo.wav": "no regular file: it is a FIFO; put the audio file itself there",
        "self.wav": "unreadable: Too many levels of symbolic links",
        "socket.wav": "no regular file: it is a socket; put the audio file itself there",
        "zero.wav": "no regular file: it is a device; put the audio file itself there",
    }


def test_a_file_that_takes_all_memory_is_rejected_alone(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        put(tmp_path, f"{name}.wav", noise(seed=ord(name)))

    def blocks(self, *arguments, whole=audio_io.AudioFile.blocks):
        if self.name.endswith("b.wav"):
            raise MemoryError
        return whole(self, *arguments)

    monkeypatch.setattr(audio_io.AudioFile, "blocks", blocks)
    tracks, reasons = scan(tmp_path)
    assert [item.path for item in tracks] == ["a.wav", "c.wav"]
    assert reasons["b.wav"].startswith("too large for the memory: ")


def test_a_file_whose_check_dies_or_hangs_is_rejected_alone(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        put(tmp_path, f"{name}.wav", noise(seed=ord(name)))
    ordered_map = workers.ordered_map

    def lossy(function, items, num_workers, seconds):
        assert seconds(items[0]) > 60
        for item, result in zip(items, ordered_map(function, items, 0), strict=True):
            yield workers.Lost("its process died twice (killed by signal 9)") if item.endswith("b.wav") else result

    monkeypatch.setattr(workers, "ordered_map", lossy)
    tracks, reasons = scan(tmp_path)
    assert [item.path for item in tracks] == ["a.wav", "c.wav"]
    assert reasons == {"b.wav": "lost: its process died twice (killed by signal 9)"}


def test_any_name_and_tag_goes_through(tmp_path):
    strange = ["new\nline", "next\x85line", "sep\u2028", "quo'\"te", "back\\slash", "tab\t", " blank ", "ü東", "\\xff"]
    for index, name in enumerate(strange):
        put(tmp_path, f"{name}.flac", noise(seed=index), {"artist": f"by {name}"})
    with open(bytes(tmp_path) + b"/\xff.flac", "wb") as file:
        put(tmp_path, "other/x.flac", noise(seed=100))
        file.write((tmp_path / "other" / "x.flac").read_bytes())
    tracks, _ = scan(tmp_path)
    paths = {item.path: item.labels["artist"] for item in tracks}
    assert len(paths) == len(strange) + 1
    for name in strange[:-1]:
        assert paths[f"{name}.flac"] == f"by {name}".strip(" \t")


def test_workers_do_not_change_the_result(tmp_path):
    for seed in range(5):
        put(tmp_path, f"{seed}.wav", noise(seed=seed % 3))
    serial, parallel = scan(tmp_path), scan(tmp_path, num_workers=2)
    keys = ("track_id", "group", "hash", "duration", "labels")
    assert [[getattr(t, k) for k in keys] for t in serial[0]] == [[getattr(t, k) for k in keys] for t in parallel[0]]
    assert serial[1] == parallel[1] == {"3.wav": "exact duplicate of: 0.wav", "4.wav": "exact duplicate of: 1.wav"}


def test_a_folder_without_audio_names_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"no audio in .*\.wav \.flac \.ogg \.mp3"):
        scan(tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        scan(tmp_path / "absent")
    with pytest.raises(ValueError, match="source is empty"):
        recordings.tracks("", 8000, 0, 0)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with real recordings is absent")
def test_real_mp3_collection():
    tracks, reasons = scan(SHARED / "fma" / "fma_small")
    assert [item.duration for item in tracks] == [30.0] * 4
    assert sorted(item.channels for item in tracks) == [1, 1, 2, 2]
    assert list(reasons) == ["099/099134.mp3"] and reasons["099/099134.mp3"].startswith("undecodable: no audio found")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with real recordings is absent")
def test_real_recordings():
    tracks, reasons = scan(SHARED / "recordings")
    assert reasons == {} and len(tracks) == 6
    labels = {item.path: item.labels for item in tracks}
    assert labels["tchaikovsky_sugar_plum_fairy.ogg"] == {"artist": "Kevin MacLeod", "genre": "Classical"}
    assert sum(item.duration for item in tracks) == pytest.approx(444, abs=1)


def test_folders_that_cannot_be_listed(tmp_path, monkeypatch):
    put(tmp_path, "a/good.wav", noise())
    put(tmp_path, "locked/b.wav", noise(seed=1))
    scandir, locked = os.scandir, {str(tmp_path / "locked")}

    def refusing(path):
        if os.fspath(path) in locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    tracks, rejections = recordings.tracks(str(tmp_path), 16000, 0, 0)
    assert [item.path for item in tracks] == ["a/good.wav"]
    assert [(item.path, item.reason) for item in rejections] == [("locked", "folder unreadable: Permission denied")]
    locked.add(str(tmp_path))
    with pytest.raises(PermissionError):  # not "no audio in it"
        recordings.tracks(str(tmp_path), 16000, 0, 0)
