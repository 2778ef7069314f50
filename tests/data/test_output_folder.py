"""Wherever the output lies, it is complete or as if never begun, and finished work is never lost."""

import contextlib
import errno
import os
import pathlib
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
import tiny_shards

from musicgen_jax.data import output_folder, shards
from musicgen_jax.runtime import folder_lock
from musicgen_jax.runtime.errors import UserError


def write(directory, megabytes: float = 0.01) -> None:
    features = shards.audio_features(["genre", "artist"])
    with tiny_shards.ShardWriter(directory, "musicgen_audio", features, ("train",), {"sample_rate": 8000}) as writer:
        for index in range(10):
            size = round(megabytes * 1e5 / 2)
            audio = np.random.default_rng(index).integers(-(2**15), 2**15, size, np.int16)
            labels = {"track_id": "t", "labels": {"genre": "g", "artist": "a"}}
            writer.write("train", labels | {"audio": audio, "segment": index, "start": 0, "track_samples": size})
        (writer.path / "manifest.jsonl").touch()


def is_whole(directory) -> bool:
    return len(shards.open_split(directory, "train")) == 10 and not list(pathlib.Path(directory).glob(".*"))


def test_nothing_beside_the_folder_is_touched(tmp_path, monkeypatch):
    """As where the parent cannot be written to, or the folder is a mount point, which cannot be renamed."""
    out = tmp_path / "out"
    out.mkdir()
    rename = os.rename

    def inside_only(source, target):
        for path in map(pathlib.Path, (source, target)):
            assert out in path.parents, f"{path} is outside of {out}"
        rename(source, target)

    monkeypatch.setattr(os, "rename", inside_only)
    before = out.stat().st_ino
    write(out)
    assert is_whole(out) and out.stat().st_ino == before and os.listdir(tmp_path) == ["out"]


def test_a_link_to_a_folder_and_one_to_nothing(tmp_path):
    (tmp_path / "disk").mkdir()
    for name, target in (("linked", "disk"), ("dangling", "later")):
        (tmp_path / name).symlink_to(target)
        with output_folder.claim(tmp_path / name, "a test") as folder:
            assert folder == tmp_path / target
            write(tmp_path / name)
        assert (tmp_path / name).is_symlink() and is_whole(tmp_path / target)


@contextlib.contextmanager
def small_disk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A mount point with 2 MB of space."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no mount: {error}")
    if done.returncode:
        pytest.skip(f"this user may not mount a file system: {done.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_mount_point(tmp_path):
    with small_disk(tmp_path / "out") as out:
        write(out)
        assert is_whole(out)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        for out in (disk, disk / "new"):
            with pytest.raises(OSError, match=rf"No space left on device: '{out}'") as caught:
                write(out, megabytes=4)
            assert caught.value.errno == errno.ENOSPC
            assert os.listdir(disk) == []
        write(disk / "new")
        assert is_whole(disk / "new")


@pytest.mark.parametrize("number", range(5))
def test_an_interrupted_move_is_finished_by_the_next_run(tmp_path, monkeypatch, number):
    renames = 0

    def dies(source, target, rename=os.rename):
        nonlocal renames
        renames += 1
        if renames > 1 + number:
            raise OSError(errno.EBUSY, "Device or resource busy")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", dies)
        with pytest.raises(UserError, match=r"is complete in .*whole.* busy.* run the same command again"):
            write(tmp_path)
    assert not shards.is_complete(tmp_path)
    with output_folder.claim(tmp_path, "a test"):
        assert shards.is_complete(tmp_path)
    assert is_whole(tmp_path)


@pytest.mark.parametrize("job", ["", "a job"])
@pytest.mark.parametrize("error", [RuntimeError("a pipeline failed"), output_folder.EmptyError("no record")])
def test_what_is_done_stays_where_a_later_run_can_use_it(tmp_path, job, error):
    out = tmp_path / "out"
    with pytest.raises(type(error)), output_folder.fill(out, job) as place:
        (place.partial / "shard").touch()
        raise error
    keeps = bool(job) and type(error) is RuntimeError
    assert (out / output_folder.PARTIAL / "shard").exists() == out.exists() == keeps
    with output_folder.fill(out, "a job") as place:
        assert (place.partial / "shard").exists() == keeps


def test_one_writer_at_a_time(tmp_path):
    with output_folder.claim(tmp_path / "out", "prepare_data") as folder:
        refused = pytest.raises(UserError, match=rf"out is in use: prepare_data by process {os.getpid()} on ")
        with refused, output_folder.claim(tmp_path / "out", "prepare_data"):
            pass
        assert (folder / folder_lock.FILE_NAME).exists()
    assert not (tmp_path / "out").exists()


def test_files_and_full_folders_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is no folder"), output_folder.claim(tmp_path / "file", "a test"):
        pass
    with pytest.raises(UserError, match="holds other things"):
        write(tmp_path)
    assert os.listdir(tmp_path) == ["file"]
