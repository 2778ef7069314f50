"""Folders in buckets, gs://BUCKET/PATH, each with a copy on this machine in which a command works as in any folder.

The copy of gs://BUCKET/PATH is CACHE/BUCKET/PATH; CACHE is $MUSICGEN_JAX_BUCKETS or ~/.cache/musicgen_jax/buckets.
`fetch` brings it up to date before the work, `push` copies what changed back. An index remembers which generation of an
object a file was the same as, so that what changed here, there, or in both places can be told apart: the last is
refused, and nothing is overwritten that nobody has seen. Hidden files stay on this machine.

Checkpoints are not copied: Orbax reads and writes them in the bucket, where `place` says.
"""

import base64
import contextlib
import fcntl
import hashlib
import importlib
import os
import pathlib
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import tqdm

from musicgen_jax.runtime.errors import SYSTEM_ERRORS, UserError

if TYPE_CHECKING:
    import fsspec

SCHEME = "gs://"
CACHE = "~/.cache/musicgen_jax/buckets"
CHECKPOINTS = "checkpoints"  # folders of this name are Orbax's
SHARDS = ".array_record"  # in the names of files that a command which only writes a data set need not have
LAST = "dataset_info.json"  # without it no reader takes the folder for a data set
AT_ONCE = 16  # objects on their way
RESERVE_BYTES = 2**30  # that a copy leaves free on this machine's disk

_present: dict[pathlib.Path, set[pathlib.Path]] = {}  # folder -> the files of its copy after `fetch`


def cache() -> pathlib.Path:
    """The folder of all copies, with all links resolved."""
    return pathlib.Path(os.path.realpath(os.path.expanduser(os.environ.get("MUSICGEN_JAX_BUCKETS") or CACHE)))


def is_url(path: str) -> bool:
    """Whether a path as the user gave it is one in a bucket."""
    return path[: len(SCHEME)].lower() == SCHEME


def local_path(url: str, name: str) -> pathlib.Path:
    """Where the copy of a bucket's folder or file lies; nothing is copied yet.

    Args:
      url: gs://BUCKET or gs://BUCKET/PATH.
      name: of the argument, for the message.

    Raises:
      UserError: it is no such URL, or names hidden files.
    """
    bucket, *parts = url[len(SCHEME) :].rstrip("/").split("/")
    if not re.fullmatch("[a-z0-9][a-z0-9._-]*", bucket) or any(not part or part[0] == "." for part in parts):
        raise UserError(f"`{name}`={url}: write gs://BUCKET/PATH, no part of which is empty or begins with a dot")
    return cache().joinpath(bucket, *parts)


def url_of(path: str | os.PathLike[str]) -> str:
    """The URL of which `path` is the copy, or "" where it is none."""
    path = pathlib.Path(os.path.abspath(path))
    if not path.is_relative_to(cache()) or path == cache():
        return ""
    return SCHEME + path.relative_to(cache()).as_posix()


def named(text: str) -> str:
    """`text` with the URLs of copies in place of their paths on this machine."""
    return text.replace(f"{cache()}{os.sep}", SCHEME)


def place(folder: pathlib.Path) -> pathlib.Path:
    """Where a folder is itself: an `etils.epath.Path` in the bucket of which `folder` is the copy, or `folder`."""
    url = url_of(folder)
    if not url:
        return folder
    from etils import epath

    _file_system()
    return epath.Path(url)


def fetch(path: str | os.PathLike[str], shards: bool = True) -> pathlib.Path:
    """Brings the copy of a bucket's folder or file up to date; does nothing for a path outside of `cache()`.

    Args:
      path: of the copy, or a URL.
      shards: whether to copy the records of data sets too.

    Returns:
      The copy's path. Where nothing is in the bucket, nothing is there.

    Raises:
      UserError: the bucket cannot be read, the disk is too small, or a file has changed in both places.
    """
    path = local_path(path, "path") if isinstance(path, str) and is_url(path) else pathlib.Path(os.path.abspath(path))
    if not url_of(path):
        return path
    with _one_at_a_time(path), _index() as index:
        there = _objects(path)
        due = []
        for file, about in there.items():
            if CHECKPOINTS in file.relative_to(cache()).parts:
                _checkpoints_of(file).mkdir(parents=True, exist_ok=True)
            elif not shards and SHARDS in file.name:
                file.parent.mkdir(parents=True, exist_ok=True)
            elif _is_due(index, file, about):
                due.append(file)
        for file in _known(index, path) - there.keys():
            if _unchanged(index, file):  # it was removed from the bucket
                file.unlink()
                index.execute("DELETE FROM files WHERE path = ?", [str(file)])
        _download(index, due, there, path)
        _present[path] = set(_files(path))
    return path


def fetched(path: str | os.PathLike[str]) -> str:
    """`path`, brought up to date if it is a copy that this process has not looked after yet."""
    absolute = pathlib.Path(os.path.abspath(path))
    if url_of(absolute) and not any(absolute.is_relative_to(folder) for folder in _present):
        fetch(absolute)
    return os.fspath(path)


def push(path: str | os.PathLike[str]) -> None:
    """Copies what changed in the copy of a bucket's folder, or in a file, to the bucket; dataset_info.json last.

    What was there at `fetch` and is gone now is removed from the bucket too. Does nothing for a path outside of
    `cache()`.

    Raises:
      UserError: the bucket cannot be written to, or somebody else has changed the same file there.
    """
    path = pathlib.Path(os.path.abspath(path))
    if not url_of(path):
        return
    with _one_at_a_time(path), _index() as index:
        there, here = _objects(path), _files(path)
        due = [file for file in here if not _unchanged(index, file)]
        for file in due:
            moved_on = file in there and _generation(index, file) != there[file]["generation"]
            if moved_on and not _is_same(file, there[file]):
                raise _changed_twice(file)
        _upload(index, due, path)
        gone = [file for file in _present.get(path, set()) - set(here) if file in there]
        for file in gone if path not in gone else ():
            with _reached(url_of(file)):
                _file_system().rm_file(_object(file))
            index.execute("DELETE FROM files WHERE path = ?", [str(file)])
        _present[path] = set(here)


@contextlib.contextmanager
def worked_in(reads: Sequence[pathlib.Path], writes: Sequence[pathlib.Path]) -> Iterator[None]:
    """Around a command: fetches the copies that it reads and writes, and pushes the latter behind it, however it ends.

    Raises:
      UserError: as `fetch` and `push`; the latter's only where the command itself raised nothing.
    """
    for path in reads:
        fetch(path)
    for path in writes:
        fetch(path, shards=False)
    try:
        yield
    except BaseException:
        for path in writes:
            with contextlib.suppress(Exception):  # the error under way says more
                push(path)
        raise
    for path in writes:
        push(path)


def is_empty(folder: str | os.PathLike[str]) -> bool:
    """Whether `folder` is a copy, and nothing is in the bucket yet. Raises UserError where it cannot be read."""
    return bool(url_of(folder)) and not _objects(pathlib.Path(os.path.abspath(folder)))


def remove(folder: str | os.PathLike[str]) -> None:
    """Removes all objects of which `folder` would be the copy. Raises UserError where they cannot be removed."""
    folder = pathlib.Path(os.path.abspath(folder))
    with _reached(url_of(folder)), _index() as index:
        if there := _objects(folder):
            _file_system().rm([_object(file) for file in there])
        index.executemany("DELETE FROM files WHERE path = ?", [[str(file)] for file in there])


def _file_system() -> "fsspec.AbstractFileSystem":
    try:
        import fsspec

        importlib.import_module("gcsfs")  # which fsspec would find by itself, and say less where it is not there
    except ImportError as error:
        raise UserError("gs:// needs the extra gcs: pip install 'musicgen_jax[gcs]'") from error
    # A listing that is remembered lacks what another process, or TensorStore, has written since.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    return fsspec.filesystem("gcs")


@contextlib.contextmanager
def _reached(url: str) -> Iterator[None]:
    """Turns what gcsfs and its libraries raise over a bucket into one sentence; the disk's own errors pass."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in SYSTEM_ERRORS and not isinstance(error, FileNotFoundError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{url} could not be reached ({reason}): check its name, the network and your rights "
            "(gcloud auth application-default login), and run the same command again"
        ) from error


def _objects(path: pathlib.Path) -> dict[pathlib.Path, dict[str, Any]]:
    """file of the copy -> what the bucket says of its object; of `path` itself, or of all below it."""
    with _reached(url_of(path)):
        system = _file_system()
        found = system.find(_object(path), detail=True)
    own = {cache() / name: about for name, about in found.items() if about["type"] == "file" and name[-1] != "/"}
    return {file: about for file, about in own.items() if not _is_hidden(file)}


def _object(file: pathlib.Path) -> str:
    return file.relative_to(cache()).as_posix()


def _is_hidden(file: pathlib.Path) -> bool:
    return any(part[0] == "." for part in file.relative_to(cache()).parts)


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    """All files of a copy that the bucket should have."""
    found = [path] if path.is_file() else sorted(path.rglob("*"))
    return [file for file in found if file.is_file() and not _is_hidden(file)]


def _checkpoints_of(file: pathlib.Path) -> pathlib.Path:
    parts = file.relative_to(cache()).parts
    return cache().joinpath(*parts[: parts.index(CHECKPOINTS) + 1])


def _is_due(index: sqlite3.Connection, file: pathlib.Path, about: dict[str, Any]) -> bool:
    """Whether an object has to be copied here. Raises UserError where its copy was changed as well."""
    if not file.exists():
        return True
    if _generation(index, file) == about["generation"]:
        return False  # where the copy has changed since, that is yet to be pushed
    if _is_same(file, about):
        _remember(index, file, about)
        return False
    if not _unchanged(index, file):
        raise _changed_twice(file)
    return True


def _changed_twice(file: pathlib.Path) -> UserError:
    return UserError(
        f"{url_of(file)} has changed, and so has its copy {file.parent.name}/{file.name} in {cache()}: does another "
        "command write there? Choose another folder, or remove the one of the two that is not wanted"
    )


def _is_same(file: pathlib.Path, about: dict[str, Any]) -> bool:
    if file.stat().st_size != about["size"] or "md5Hash" not in about:
        return False
    with file.open("rb") as opened:
        return base64.b64encode(hashlib.file_digest(opened, "md5").digest()).decode() == about["md5Hash"]


def _download(index: sqlite3.Connection, due: list[pathlib.Path], there: dict, path: pathlib.Path) -> None:
    if not due:
        return
    total = sum(there[file]["size"] for file in due)
    cache().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache()).free - RESERVE_BYTES
    if total > free:
        raise UserError(
            f"{url_of(path)}: {total / 1e9:,.1f} GB are to be copied to this machine, and {cache().parent} has room "
            f"for {max(free, 0) / 1e9:,.1f} GB: set MUSICGEN_JAX_BUCKETS to a folder on a larger disk, or mount the "
            "bucket"
        )
    with _progress(f"copy {len(due):,} files from {url_of(path)}", total) as progress:
        for start in range(0, len(due), AT_ONCE):
            batch = due[start : start + AT_ONCE]
            partial = [file.with_name(f".{file.name}.part") for file in batch]
            for file in batch:
                file.parent.mkdir(parents=True, exist_ok=True)
            with _reached(url_of(path)):
                _file_system().get([_object(file) for file in batch], [str(file) for file in partial])
            for file, copied in zip(batch, partial, strict=True):
                os.replace(copied, file)
                _remember(index, file, there[file])
            progress.update(sum(there[file]["size"] for file in batch))


def _upload(index: sqlite3.Connection, due: list[pathlib.Path], path: pathlib.Path) -> None:
    if not due:
        return
    total = sum(file.stat().st_size for file in due)
    due = sorted(due, key=lambda file: (file.name == LAST, file.suffix == ".json"))
    with _progress(f"copy {len(due):,} files to {url_of(path)}", total) as progress:
        rest = [file for file in due if file.suffix != ".json"]
        batches = [rest[start : start + AT_ONCE] for start in range(0, len(rest), AT_ONCE)]
        for batch in [*batches, *([file] for file in due if file.suffix == ".json")]:
            marks = {file: file.stat() for file in batch}
            with _reached(url_of(path)):
                _file_system().put([str(file) for file in batch], [_object(file) for file in batch])
                for file in batch:
                    _remember(index, file, _file_system().info(_object(file)), marks[file])
            progress.update(sum(mark.st_size for mark in marks.values()))


def _progress(what: str, total: int) -> tqdm.tqdm:
    """A bar on a terminal, a line in a log. JAX is not asked who speaks: that would start it, before it is set up."""
    if not sys.stderr.isatty():
        print(f"{what}, {total / 1e6:,.1f} MB", file=sys.stderr, flush=True)
    return tqdm.tqdm(total=total, desc=what, unit="B", unit_scale=True, disable=not sys.stderr.isatty())


@contextlib.contextmanager
def _one_at_a_time(path: pathlib.Path) -> Iterator[None]:
    """Processes of this machine copy a folder one after another, so that the second finds it done."""
    locks = cache() / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with open(locks / hashlib.sha256(str(path).encode()).hexdigest()[:32], "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _index() -> Iterator[sqlite3.Connection]:
    """path of a copied file -> its size and time of change when it was the same as a generation of its object."""
    with contextlib.closing(sqlite3.connect(cache() / ".index.sqlite", timeout=600, isolation_level=None)) as index:
        columns = "path TEXT PRIMARY KEY, generation TEXT, size INTEGER, mtime_ns INTEGER"
        index.execute(f"CREATE TABLE IF NOT EXISTS files ({columns})")
        yield index


def _remember(
    index: sqlite3.Connection, file: pathlib.Path, about: dict[str, Any], mark: os.stat_result | None = None
) -> None:
    mark = mark or file.stat()
    row = [str(file), about["generation"], mark.st_size, mark.st_mtime_ns]
    index.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", row)


def _generation(index: sqlite3.Connection, file: pathlib.Path) -> str | None:
    row = index.execute("SELECT generation FROM files WHERE path = ?", [str(file)]).fetchone()
    return row[0] if row else None


def _known(index: sqlite3.Connection, path: pathlib.Path) -> set[pathlib.Path]:
    """Files of a copy that the index has."""
    prefix = f"{path}{os.sep}"
    rows = index.execute(
        "SELECT path FROM files WHERE path = ? OR substr(path, 1, ?) = ?", [str(path), len(prefix), prefix]
    )
    return {pathlib.Path(row[0]) for row in rows}


def _unchanged(index: sqlite3.Connection, file: pathlib.Path) -> bool:
    """Whether a copied file is there as it was when it was last the same as its object."""
    row = index.execute("SELECT size, mtime_ns FROM files WHERE path = ?", [str(file)]).fetchone()
    if row is None or not file.is_file():
        return False
    mark = file.stat()
    return tuple(row) == (mark.st_size, mark.st_mtime_ns)
