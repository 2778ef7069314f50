"""Files are whole or refused, by name."""

import io
import os
import re
import shutil
import zipfile

import numpy as np
import pytest

from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import NotFoundError, UserError


def test_json_lines_survive_every_character_at_which_python_splits_lines(tmp_path):
    rows = [{"name": f"a{chr(code)}b"} for code in (0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029, 0x0D)]
    files.write_text(tmp_path / "rows", files.json_lines(rows))
    assert files.read_json_lines(tmp_path / "rows") == rows


def test_unescaped_line_separators_written_by_others_are_read(tmp_path):
    (tmp_path / "rows").write_text('{"name": "a\u0085b\u2028c"}\n{"name": "d"}\n', encoding="utf-8")
    assert [row["name"] for row in files.read_json_lines(tmp_path / "rows")] == ["a\u0085b\u2028c", "d"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"\xff\xfe", b"[" * 100_000, b'{"a": ' * 50_000, b"null", b"{} {}"]
)
def test_damaged_json_is_one_line_that_names_the_file(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        files.read_json(path)


def test_a_file_that_is_not_there_comes_with_the_remedy(tmp_path):
    with pytest.raises(NotFoundError, match=r"no x\.json in .*: run y first"):
        files.read_json(tmp_path / "x.json", "run y first")


def test_writing_is_whole_or_nothing(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_every_flipped_bit_of_an_array_file_is_seen(tmp_path):
    path = tmp_path / "codes.npz"
    np.savez(path, top=np.arange(64, dtype=np.int32))
    whole = path.read_bytes()
    start = whole.index(np.arange(64, dtype=np.int32).tobytes())
    for position in range(start, start + 256, 37):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        with pytest.raises(UserError, match=r"codes\.npz is damaged"):
            files.read_arrays(path)
    path.write_bytes(whole)
    np.testing.assert_array_equal(files.read_arrays(path)["top"], np.arange(64))


def test_array_files_with_objects_or_without_arrays_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="damaged"):
        files.read_arrays(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", "no array")
    with pytest.raises(UserError, match="damaged"):
        files.read_arrays(path)


@pytest.mark.parametrize("url", ["gs://bucket/a", "s3://b", "HTTPS://x/y"])
def test_urls_are_refused_with_the_argument(url):
    with pytest.raises(UserError, match=f"out={url}: only paths on this machine"):
        files.local_path(url, "out")


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(files.local_path("~/run", "out")) == "/home/someone/run"


@pytest.mark.parametrize("path", [3, None, b"run", ["run"]])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(UserError, match=r"out=.*: must be a path"):
        files.local_path(path, "out")


def test_the_folder_to_write_to(tmp_path):
    own = {"facts.json": "mine"}
    assert files.output_folder(tmp_path / "new", own) == tmp_path / "new"
    (tmp_path / ".musicgen_jax.lock").touch()
    assert files.output_folder(tmp_path, own) == tmp_path
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"out=.*dangling is no folder"):
        files.output_folder(tmp_path / "dangling", own, "out")
    for content in ('{"theirs": 1}', '{"mine": 1}'):
        (tmp_path / "facts.json").write_text(content)
        if "theirs" in content:
            with pytest.raises(UserError, match=r"holds other things \(dangling, facts\.json\)"):
                files.output_folder(tmp_path, own)
    assert files.output_folder(tmp_path, own) == tmp_path


@pytest.mark.parametrize("existed", [False, True])
def test_what_fails_leaves_nothing(tmp_path, existed):
    folder = tmp_path / "out"
    if existed:
        folder.mkdir()
        (folder / "lost+found").mkdir()
    with pytest.raises(OSError, match="full"), files.all_or_nothing(folder):
        (folder / "checkpoints" / "0").mkdir(parents=True)
        (folder / "config.json").touch()
        raise OSError("full")
    assert os.listdir(tmp_path) == ["out"] * existed
    assert not existed or os.listdir(folder) == ["lost+found"]


def test_an_error_of_a_write_names_the_file():
    full = pytest.raises(OSError, match=r"No space left on device: '/dev/full'")
    with full, files.blamed_on("/dev/full"), open("/dev/full", "wb") as file:
        file.write(b"x")


def test_an_array_file_that_promises_more_than_it_holds(tmp_path):
    """np.load would ask for the memory first."""
    path = tmp_path / "x.npz"
    for array in (np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2).T):
        np.savez(path, a=array)
        np.testing.assert_array_equal(files.read_arrays(path)["a"], array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 8)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", header.getvalue() + bytes(100))
    with pytest.raises(UserError, match=r"x\.npz is damaged"):
        files.read_arrays(path)


def test_errors_of_libraries_are_of_the_file_and_those_of_the_system_stay():
    with (
        pytest.raises(UserError, match=r"^x is damaged \(first line\): copy it again$"),
        files.reading("x", "copy it again"),
    ):
        raise RuntimeError("first line\nsecond line")
    with (
        pytest.raises(UserError, match=r"^x is damaged \(KeyError\): copy it again$"),
        files.reading("x", "copy it again"),
    ):
        raise KeyError
    for error in (PermissionError(13, "Permission denied"), MemoryError(), UserError("a sentence")):
        with pytest.raises(type(error)) as caught, files.reading("x", "copy it again"):
            raise error
        assert caught.value is error


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    (tmp_path / "x").touch()
    monkeypatch.setattr(files.os, "access", lambda *_: False)  # root may read everything
    with (
        pytest.raises(PermissionError, match=r"Permission denied: .*x'"),
        files.reading(tmp_path / "x", "copy it again"),
    ):
        raise RuntimeError("open() failed")


def test_a_folder_that_is_still_written_to_goes(tmp_path, monkeypatch):
    folder, rmtree, late = tmp_path / "folder", shutil.rmtree, iter(range(3))
    folder.mkdir()

    def written_to(path, ignore_errors):
        rmtree(path, ignore_errors)
        if (index := next(late, None)) is not None:
            (path / str(index)).mkdir(parents=True)

    monkeypatch.setattr(files.shutil, "rmtree", written_to)
    files.remove(folder)
    assert not folder.exists() and next(late, None) is None


def test_paths_become_text_and_never_the_same_one():
    assert files.describe_path("a/é \n\\b.wav") == "a/é \n\\b.wav"
    assert files.describe_path(b"a\xff.wav") == "a\\xff.wav"
    alike = [b"\xff", b"\\xff", b"\\\xff", b"\\\\xff", b"\\", b"\\\\", b"\\xc3\xa9", b"\xc3\\xa9", "é".encode()]
    assert len({files.describe_path(path) for path in alike}) == len(alike)
