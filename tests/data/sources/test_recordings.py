"""Source `recordings`: what is kept, what is rejected and why."""

import errno
import os
import pathlib
import socket
import tempfile

import numpy as np
import pytest
import soundfile

from musicgen_jax.data import audio_io, manifest, preparation, spool, workers
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


def scan(folder: pathlib.Path, num_workers: int = 0) -> tuple[list[manifest.Row], dict[str, str]]:
    """(rows of what is kept, {path: reason} of what is not) when the folder has been prepared."""
    out = tempfile.mkdtemp(dir=folder.parent)
    preparation.prepare(preparation.Settings("recordings", str(folder), 8000, 0), recordings, out, num_workers)
    rows = manifest.read(out)
    kept = [row for row in rows if row.status == "ok"]
    return kept, {row.path: row.reason for row in rows if row.status != "ok"}


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """Of recordings."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def linked(folder: pathlib.Path, name: str) -> pathlib.Path:
    """A link to a shared folder, beside which a data set can be written."""
    (folder / "shared").symlink_to(SHARED / name)
    return folder / "shared"


def test_every_bad_file_is_rejected_with_its_reason(folder):
    put(folder, "good.wav", noise())
    (folder / "empty.wav").touch()
    (folder / "text.mp3").write_text("this is no music " * 50)
    put(folder, "cut.mp3", noise(6.0))
    data = (folder / "cut.mp3").read_bytes()
    (folder / "cut.mp3").write_bytes(data[: len(data) // 2])
    put(folder, "cut.flac", noise(6.0, seed=1))
    data = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(data[: len(data) // 2])
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        broken = noise(seed=2)
        broken[100] = value
        put(folder, f"{name}.wav", broken, subtype="FLOAT")
    put(folder, "seven.wav", noise(channels=7))
    put(folder, "short.wav", noise(0.9))
    put(folder, "silent.wav", noise() * 1e-4)
    stereo = noise(seed=3)
    put(folder, "cancelling.wav", np.concatenate([stereo, -stereo], axis=1), subtype="FLOAT")
    (folder / "dangling.wav").symlink_to(folder / "gone.wav")
    tracks, reasons = scan(folder)
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


def test_duplicates_in_any_container_keep_the_first_path(folder):
    audio = (noise() * 10000).astype(np.int16)
    put(folder, "b/one.wav", audio, subtype="PCM_16")
    put(folder, "a/two.flac", audio, subtype="PCM_16")
    put(folder, "c/stereo.wav", np.repeat(audio, 2, axis=1), subtype="PCM_16")
    put(folder, "d/other.wav", noise(seed=1))
    tracks, reasons = scan(folder)
    assert [item.path for item in tracks] == ["a/two.flac", "d/other.wav"]
    assert reasons == {
        "b/one.wav": "exact duplicate of: a/two.flac",
        "c/stereo.wav": "exact duplicate of: a/two.flac",
    }


def test_labels_come_from_tags_then_folders(folder):
    put(folder, "jazz/tagged.FLAC", noise(), {"artist": "Ann", "genre": "Swing"}, format="FLAC")
    put(folder, "jazz/plain.Mp3", noise(seed=1), format="MP3")
    put(folder, "root.ogg", noise(seed=2), format="OGG")
    (folder / "cover.jpg").touch()
    (folder / "README").touch()
    tracks, reasons = scan(folder)
    assert reasons == {}
    assert {item.path: item.labels for item in tracks} == {
        "jazz/plain.Mp3": {"artist": "unknown", "genre": "jazz"},
        "jazz/tagged.FLAC": {"artist": "Ann", "genre": "Swing"},
        "root.ogg": {"artist": "unknown", "genre": "unknown"},
    }
    assert recordings.notes(str(folder))["ignored_files"] == {"(none)": 1, ".jpg": 1}


def test_doubtful_files_are_kept_with_a_warning(folder):
    put(folder, "clipped.wav", np.clip(noise() * 20, -1, 1))
    quiet = noise(4.0)
    quiet[RATE:] = 0
    put(folder, "pause.wav", quiet)
    put(folder, "sound.wav", noise(seed=1))
    tracks, _ = scan(folder)
    warnings = [item.warning.split(":")[0] for item in tracks]
    assert warnings == ["clipped", "mostly silent", ""]
    assert "75% of the time" in tracks[1].warning


def test_links_and_strange_names(folder):
    put(folder / "real", "a.wav", noise())
    (folder / "real" / "up").symlink_to(folder)
    (folder / "linked").mkdir()
    put(folder / "elsewhere", "b.wav", noise(seed=1))
    with open(bytes(folder / "linked") + b"/\xff.wav", "wb") as file:
        file.write((folder / "elsewhere" / "b.wav").read_bytes())
    (folder / "linked" / "to").symlink_to(folder / "elsewhere")
    tracks, reasons = scan(folder)
    assert [item.path for item in tracks] == ["elsewhere/b.wav", "real/a.wav"]
    assert reasons == {"linked/\\xff.wav": "exact duplicate of: elsewhere/b.wav"}


def test_what_is_no_file_is_rejected_unopened(folder):
    put(folder, "good.wav", noise())
    os.mkfifo(folder / "fifo.wav")
    (folder / "zero.wav").symlink_to("/dev/zero")
    (folder / "self.wav").symlink_to("self.wav")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket.wav"))
        tracks, reasons = scan(folder)
    assert [item.path for item in tracks] == ["good.wav"]
    assert reasons == {
        "fifo.wav": "no regular file: it is a FIFO; put the audio file itself there",
        "self.wav": "unreadable: Too many levels of symbolic links",
        "socket.wav": "no regular file: it is a socket; put the audio file itself there",
        "zero.wav": "no regular file: it is a device; put the audio file itself there",
    }


def test_a_file_that_takes_all_memory_is_rejected_alone(folder, monkeypatch):
    for name in ("a", "b", "c"):
        put(folder, f"{name}.wav", noise(seed=ord(name)))

    def blocks(self, *arguments, whole=audio_io.AudioFile.blocks):
        if self.name.endswith("b.wav"):
            raise MemoryError
        return whole(self, *arguments)

    monkeypatch.setattr(audio_io.AudioFile, "blocks", blocks)
    tracks, reasons = scan(folder)
    assert [item.path for item in tracks] == ["a.wav", "c.wav"]
    assert reasons["b.wav"].startswith("too large for the memory: ")


def test_a_file_whose_check_dies_or_hangs_is_rejected_alone(folder, monkeypatch):
    for name in ("a", "b", "c"):
        put(folder, f"{name}.wav", noise(seed=ord(name)))

    def lossy(function, items, num_workers, seconds):
        """As where the process dies that reads b.wav, alone or with others."""
        items = list(items)
        assert seconds(items[0]) > 60
        for item in items:
            alone = type(item) is tuple  # a track and its place in the part
            fatal = item[1].path == "b.wav" if alone else isinstance(item, spool.Batch)
            yield workers.Lost("its process died twice (killed by signal 9)") if fatal else function(item)

    monkeypatch.setattr(workers, "ordered_map", lossy)
    tracks, reasons = scan(folder)
    assert [item.path for item in tracks] == ["a.wav", "c.wav"]
    assert reasons == {"b.wav": "lost: its process died twice (killed by signal 9)"}


def test_any_name_and_tag_goes_through(folder):
    strange = ["new\nline", "next\x85line", "sep\u2028", "quo'\"te", "back\\slash", "tab\t", " blank ", "ü東", "\\xff"]
    for index, name in enumerate(strange):
        put(folder, f"{name}.flac", noise(seed=index), {"artist": f"by {name}"})
    with open(bytes(folder) + b"/\xff.flac", "wb") as file:
        put(folder, "other/x.flac", noise(seed=100))
        file.write((folder / "other" / "x.flac").read_bytes())
    tracks, _ = scan(folder)
    paths = {item.path: item.labels["artist"] for item in tracks}
    assert len(paths) == len(strange) + 1
    for name in strange[:-1]:
        assert paths[f"{name}.flac"] == f"by {name}".strip(" \t")


@pytest.mark.long
def test_workers_do_not_change_the_result(folder):
    for seed in range(5):
        put(folder, f"{seed}.wav", noise(seed=seed % 3))
    serial, parallel = scan(folder), scan(folder, num_workers=2)
    assert serial[0] == parallel[0] and len(serial[0]) == 3
    assert serial[1] == parallel[1] == {"3.wav": "exact duplicate of: 0.wav", "4.wav": "exact duplicate of: 1.wav"}


def test_a_folder_without_audio_names_what_was_looked_for(folder):
    (folder / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"no audio in .*\.wav \.flac \.ogg \.mp3"):
        scan(folder)
    with pytest.raises(ValueError, match="is no folder"):
        scan(folder / "absent")
    with pytest.raises(ValueError, match="source is empty"):
        recordings.tracks("", 8000, 0, 0)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with real recordings is absent")
def test_real_mp3_collection(folder):
    tracks, reasons = scan(linked(folder, "fma/fma_small"))
    assert [item.duration for item in tracks] == [30.0] * 4
    assert sorted(item.channels for item in tracks) == [1, 1, 2, 2]
    assert list(reasons) == ["099/099134.mp3"] and reasons["099/099134.mp3"].startswith("undecodable: no audio found")


@pytest.mark.long
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with real recordings is absent")
def test_real_recordings(folder):
    tracks, reasons = scan(linked(folder, "recordings"))
    assert reasons == {} and len(tracks) == 6
    labels = {item.path: item.labels for item in tracks}
    assert labels["tchaikovsky_sugar_plum_fairy.ogg"] == {"artist": "Kevin MacLeod", "genre": "Classical"}
    assert sum(item.duration for item in tracks) == pytest.approx(444, abs=1)


def test_folders_that_cannot_be_listed(folder, monkeypatch):
    put(folder, "a/good.wav", noise())
    put(folder, "locked/b.wav", noise(seed=1))
    scandir, locked = os.scandir, {str(folder / "locked")}

    def refusing(path):
        if not isinstance(path, int) and os.fspath(path) in locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    tracks, reasons = scan(folder)
    assert [item.path for item in tracks] == ["a/good.wav"]
    assert reasons == {"locked": "folder unreadable: Permission denied"}
    locked.add(str(folder))
    with pytest.raises(PermissionError):  # not "no audio in it"
        recordings.tracks(str(folder), 16000, 0, 0)


def test_names_do_not_depend_on_where_the_command_runs(tmp_path, monkeypatch):
    """Names below a source are no paths: not even in the folder of buckets' copies are they those of a bucket."""
    put(tmp_path / "music", "a.wav", noise())
    monkeypatch.setenv("MUSICGEN_JAX_BUCKETS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found, _ = recordings.tracks(str(tmp_path / "music"), 16000, 0, 0)
    assert [item.path for item in found] == ["a.wav"]
