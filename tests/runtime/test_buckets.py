"""Copies of folders in buckets, against a server of Cloud Storage on this machine."""

import os
import pathlib

import pytest

from musicgen_jax.runtime import buckets, console, files
from musicgen_jax.runtime.errors import UserError


@pytest.fixture
def bucket(object_store, tmp_path, monkeypatch):
    """The file system itself, past the code under test; the copies of this test are in tmp_path/here."""
    import fsspec

    for name, value in object_store.items():
        monkeypatch.setenv(name, value)
    use(monkeypatch, tmp_path / "here")
    return fsspec.filesystem("gs", use_listings_cache=False, skip_instance_cache=True)


def use(monkeypatch, cache: pathlib.Path) -> None:
    """From now on as on another machine."""
    monkeypatch.setenv("MUSICGEN_JAX_BUCKETS", str(cache))
    monkeypatch.setattr(buckets, "_present", {})


def path_of(url: str) -> pathlib.Path:
    return buckets.local_path(url, "out")


def test_paths_and_urls(tmp_path, monkeypatch):
    use(monkeypatch, tmp_path)
    path = path_of("gs://some-bucket/a/b.c/")
    assert path == tmp_path / "some-bucket/a/b.c" and buckets.url_of(path) == "gs://some-bucket/a/b.c"
    assert buckets.url_of(tmp_path.parent / "x") == buckets.url_of(tmp_path) == ""
    assert buckets.named(f"{path}: no such folder") == "gs://some-bucket/a/b.c: no such folder"
    assert files.describe_path(path) == "gs://some-bucket/a/b.c"
    assert buckets.place(tmp_path.parent) == tmp_path.parent


@pytest.mark.parametrize("url", ["gs://", "gs://b//x", "gs://b/../x", "gs://b/.hidden/x", "gs://B/x", "gs://b b"])
def test_what_is_no_place_in_a_bucket_is_refused(url):
    with pytest.raises(UserError, match="write gs://BUCKET/PATH"):
        path_of(url)


def test_json_says_urls_and_is_read_as_paths(tmp_path, monkeypatch):
    use(monkeypatch, tmp_path / "cache")
    value = {"data": str(path_of("gs://b/audio")), "other": "/elsewhere", "deep": [str(path_of("gs://b"))]}
    files.write_json(tmp_path / "x.json", value)
    assert (
        '"gs://b/audio"' in (tmp_path / "x.json").read_text() and str(tmp_path) not in (tmp_path / "x.json").read_text()
    )
    assert files.read_json(tmp_path / "x.json") == value


def test_without_the_extra(tmp_path, monkeypatch):
    use(monkeypatch, tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    with pytest.raises(UserError, match=r"pip install 'musicgen_jax\[gcs\]'"):
        buckets.fetch(path_of("gs://b/x"))


def test_what_one_machine_pushes_another_fetches(bucket, tmp_path, monkeypatch, capfd):
    path = buckets.fetch("gs://bucket/set/run")
    assert not path.exists()
    for name, text in {
        "a/long": "x" * 10000,
        "config.json": "{}",
        ".lock": "",
        "empty": "",
        "set.array_record-0": "r",
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    buckets.push(path)
    assert sorted(bucket.find("bucket/set")) == [
        "bucket/set/run/" + name for name in ("a/long", "config.json", "empty", "set.array_record-0")
    ]
    assert "copy 4 files to gs://bucket/set/run" in capfd.readouterr().err
    buckets.push(path)
    assert capfd.readouterr().err == ""  # nothing has changed

    use(monkeypatch, tmp_path / "there")
    for shards in (False, True):
        other = buckets.fetch("gs://bucket/set/run", shards)
        assert (other / "set.array_record-0").exists() == shards
    assert (other / "a/long").read_text() == "x" * 10000 and (other / "empty").read_text() == ""
    (other / "config.json").write_text('{"new": 1}')
    (other / "empty").unlink()
    buckets.push(other)
    assert not bucket.exists("bucket/set/run/empty")

    use(monkeypatch, tmp_path / "here")
    buckets.fetch(path)
    assert (path / "config.json").read_text() == '{"new": 1}' and not (path / "empty").exists()
    assert (path / ".lock").exists()


def test_a_removed_copy_removes_nothing_from_the_bucket(bucket, monkeypatch, tmp_path):
    path = path_of("gs://bucket/shards")
    path.mkdir(parents=True)
    (path / "x.array_record-0").write_text("r")
    (path / "report.json").write_text("{}")
    buckets.push(path)
    (path / "x.array_record-0").unlink()
    use(monkeypatch, tmp_path / "here")  # another process
    with buckets.worked_in([], [path]):
        (path / "report.json").write_text('{"a": 1}')
    assert bucket.cat("bucket/shards/report.json") == b'{"a": 1}' and bucket.exists("bucket/shards/x.array_record-0")


def test_a_file_that_changed_in_both_places_is_kept_in_both(bucket):
    path = buckets.fetch("gs://bucket/two") / "x"
    path.parent.mkdir(parents=True)
    path.write_text("first")
    buckets.push(path.parent)
    bucket.pipe("bucket/two/x", b"theirs")
    path.write_text("ours")
    for act in (buckets.push, buckets.fetch):
        with pytest.raises(UserError, match="gs://bucket/two/x has changed, and so has its copy two/x"):
            act(path.parent)
    assert path.read_text() == "ours" and bucket.cat("bucket/two/x") == b"theirs"
    path.write_text("theirs")  # by chance, or by the same command on the same data
    buckets.push(path.parent)
    buckets.fetch(path.parent)


def test_what_was_not_pushed_yet_is_kept_and_pushed(bucket):
    path = buckets.fetch("gs://bucket/later") / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("1\n")
    buckets.push(path.parent)
    path.write_text("1\n2\n")  # and then the process was killed
    buckets.fetch(path.parent)
    assert path.read_text() == "1\n2\n"
    buckets.push(path.parent)
    assert bucket.cat("bucket/later/metrics.jsonl") == b"1\n2\n"


def test_files_and_folders_beside_them(bucket):
    bucket.pipe({"bucket/one/x.wav": b"x", "bucket/one/x.wav.txt": b"t", "bucket/one2/y": b"y"})
    assert buckets.fetch("gs://bucket/one/x.wav").read_bytes() == b"x"
    assert not path_of("gs://bucket/one/x.wav.txt").exists()
    buckets.fetch("gs://bucket/one")
    assert path_of("gs://bucket/one/x.wav.txt").exists() and not path_of("gs://bucket/one2").exists()


def test_checkpoints_stay_where_they_are(bucket):
    bucket.pipe({"bucket/w/checkpoints/5/model/x": b"x", "bucket/w/config.json": b"{}"})
    path = buckets.fetch("gs://bucket/w")
    assert sorted(file.name for file in path.rglob("*")) == ["checkpoints", "config.json"]
    assert os.fspath(buckets.place(path)) == "gs://bucket/w" and buckets.place(path).is_dir()
    assert not buckets.is_empty(path)
    buckets.remove(path)
    assert buckets.is_empty(path)


def test_failed_work_leaves_an_empty_place(bucket):
    path = path_of("gs://bucket/failed")
    with pytest.raises(ValueError, match="no"), files.all_or_nothing(path):
        path.mkdir(parents=True)
        bucket.pipe("bucket/failed/checkpoints/0/x", b"x")  # as Orbax does
        raise ValueError("no")
    assert buckets.is_empty(path) and not path.exists()


def test_what_is_made_is_pushed_however_it_ends(bucket):
    path = path_of("gs://bucket/half")
    with pytest.raises(SystemExit), buckets.worked_in([], [path]):
        path.mkdir(parents=True)
        (path / "x").write_text("x")
        raise SystemExit(143)
    assert bucket.cat("bucket/half/x") == b"x"


def test_a_disk_that_is_too_small(bucket, monkeypatch):
    bucket.pipe("bucket/large/x", b"x" * 1000)
    monkeypatch.setattr(buckets, "RESERVE_BYTES", 2**60)
    with pytest.raises(UserError, match=r"gs://bucket/large: 0\.0 GB are to be copied to this machine"):
        buckets.fetch("gs://bucket/large")


def test_a_bucket_that_is_not_there(bucket):
    with pytest.raises(UserError, match="gs://nobody/x could not be reached"):
        buckets.fetch("gs://nobody/x")


def test_messages_name_urls(tmp_path, monkeypatch, capfd):
    use(monkeypatch, tmp_path)
    path = str(path_of("gs://b/run/audio"))
    console.say(f"{path}: 3 tracks")
    console.say_next("train_vqvae", {"config.data.path": path})
    shown = capfd.readouterr().err
    assert "gs://b/run/audio: 3 tracks" in shown and "--config.data.path=gs://b/run/audio" in shown
