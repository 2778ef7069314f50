"""Files as the commands read and write them: checked at reading, whole or not at all at writing.

Every message names the file. What the system refuses (no permission, no space) stays an OSError with its path, which
`cli.run` turns into one line.
"""

import contextlib
import errno
import io
import json
import os
import pathlib
import re
import shutil
import stat
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

from musicgen_jax.runtime import buckets
from musicgen_jax.runtime.errors import SYSTEM_ERRORS, NotFoundError, UserError

if TYPE_CHECKING:
    import numpy as np

MAX_JSON_BYTES = 2**26  # of one JSON document: the largest that a command writes has a few hundred kB
MAX_ARRAY_BYTES = 2**34  # of all arrays of an npz, unpacked
OURS = ".musicgen_jax."  # what commands keep for themselves in a person's folder begins so
MADE_BY_THE_SYSTEM = {"lost+found", ".DS_Store"}
FILE_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
Path = str | os.PathLike[str]


def describe_path(path: Path) -> str:
    """A path as `valid_text`, for storing and printing. A copy of a bucket's is its URL."""
    return valid_text(buckets.url_of(os.fsdecode(path)) or path)


def valid_text(path: Path) -> str:
    """A path, or a part of one, as text that can be encoded; two never look the same.

    Bytes that are not UTF-8 become escapes such as \\xff. Where a path has such bytes, or characters that look like
    an escape, its own backslashes are doubled.
    """
    name = os.fsencode(path)
    text = name.decode("utf-8", "backslashreplace")
    if re.search(r"\\x[89a-f][0-9a-f]", text):
        return name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return text


def require_file(path: Path, what: str) -> int:
    """Size in bytes of a regular file that is not empty; a FIFO or device, which could block for ever, is not opened.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is something else, or empty.
    """
    name = describe_path(path)
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise NotFoundError(f"no such {what}: {name}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = FILE_KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise UserError(f"{name}: no regular file: it is {kind}; put the {what} itself there")
    if status.st_size == 0:
        raise UserError(f"{name}: 0 bytes: copy the file again")
    return status.st_size


def local_path(path: Path, name: str) -> pathlib.Path:
    """`path` with ~ for the home directory expanded.

    Args:
      path: as the user gave it.
      name: of the argument, for the message.

    Raises:
      UserError: it is no path or empty, or a URL. Flags that may be gs://... are `cli.define_path`'s.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"`{name}`={path!r}: must be a path, as text or pathlib.Path")
    text = os.fsdecode(path)
    if not text:
        raise UserError(f"`{name}` is empty: pass a path")
    if re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE):
        raise UserError(
            f"`{name}`={text}: only paths on this machine are understood; copy it here, or mount the bucket"
            + (" (musicgen_jax.runtime.buckets.fetch copies it)" if buckets.is_url(text) else "")
        )
    return pathlib.Path(text).expanduser()


def names_a_text(text: str) -> bool:
    """Whether what may be text or the path of a file that holds it is a path: of a .txt or .lrc file, or of any that is
    there."""
    return ("\n" not in text and text.lower().endswith((".txt", ".lrc"))) or os.path.isfile(text)


def path_or_copy(path: Path, name: str) -> pathlib.Path:
    """`local_path`, or of gs://... the path of its copy, for `buckets.fetch`. Arguments and errors as `local_path`."""
    if isinstance(path, str) and buckets.is_url(path):
        return buckets.local_path(path, name)
    return local_path(path, name)


def output_folder(path: Path, own: Mapping[str, str] = MappingProxyType({}), name: str = "out") -> pathlib.Path:
    """The folder that a command is about to write to. Nothing of a person's is ever in it.

    Args:
      path: as the user gave it: of nothing, of an empty folder, or of one that the same command wrote. A link to such
        a folder, or a mounted disk, is as good.
      own: file -> key: a JSON file of this name that has this key shows that the command wrote the folder.
      name: of the argument.

    Raises:
      UserError: something else is there.
    """
    folder = local_path(path, name)
    if not os.path.lexists(folder):
        return folder
    if not folder.is_dir():
        raise UserError(f"`{name}`={path} is no folder: choose another, or remove it")
    there = sorted(entry.name for entry in folder.iterdir() if entry.name not in MADE_BY_THE_SYSTEM)
    there = [entry for entry in there if not entry.startswith(OURS)]
    if there and not any(_has_key(folder / file, key) for file, key in own.items()):
        shown = ", ".join(there[:3]) + ", ..." * (len(there) > 3)
        raise UserError(f"`{name}`={path} holds other things ({shown}): choose another `{name}`, a new or empty folder")
    return folder


@contextlib.contextmanager
def all_or_nothing(folder: Path) -> Iterator[None]:
    """Around what fills a folder: after an exception, a full disk say, all that is new in it is removed again."""
    folder = pathlib.Path(folder)
    before = set(folder.iterdir()) if folder.is_dir() else None
    fresh = buckets.is_empty(folder)
    try:
        yield
    except BaseException:
        if fresh:
            buckets.remove(folder)  # checkpoints, which are written there and not here
        new = [folder] if before is None else set(folder.iterdir()) - before
        for entry in new:
            if entry.is_dir() and not entry.is_symlink():
                remove(entry)
            else:
                entry.unlink(missing_ok=True)
        raise


def remove(folder: pathlib.Path) -> None:
    """Removes a folder, of which a thread that fails, or was told to stop, may yet be writing a last file."""
    absent = 0
    for _ in range(40):
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)
        absent = 0 if folder.exists() else absent + 1
        if absent == 10:  # such a thread also makes it again
            return


def _has_key(path: pathlib.Path, key: str) -> bool:
    return path.is_file() and key in read_json(path)


def read_text(path: Path, remedy: str = "", max_bytes: int | None = None) -> str:
    """The UTF-8 text of a file.

    Args:
      path: of the file.
      remedy: ends the message where it does not exist, such as "pass a folder that prepare_data wrote".
      max_bytes: larger files are refused.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is no text, or too large.
    """
    path = _existing(path, remedy)
    if max_bytes is not None and path.stat().st_size > max_bytes:
        raise UserError(f"{path} has {path.stat().st_size} bytes; at most {max_bytes} are read: is it the right file?")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: it is no UTF-8 text ({error.reason} at byte {error.start})") from error


def read_json(path: Path, remedy: str = "") -> dict[str, Any]:
    """The JSON object in a file, with the paths of copies for folders in buckets, which `write_json` stores as URLs.

    Raises as `read_text`, and UserError where it holds no whole JSON object.
    """
    copies = json.dumps(f"{buckets.cache()}{os.sep}").removesuffix('"')
    text = read_text(path, remedy, MAX_JSON_BYTES).replace(f'"{buckets.SCHEME}', copies)
    return parse_json(text, str(path))


def parse_json(text: str | bytes, where: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises UserError, which begins with `where`, if it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{where} is damaged: it is no whole JSON ({reason})") from error
    if not isinstance(value, dict):
        raise UserError(f"{where} is damaged: it must hold a JSON object, not {type(value).__name__}")
    return value


def is_text(value: str) -> bool:
    """Whether a text can be stored as UTF-8: it has no surrogates by themselves."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_json_lines(path: Path, remedy: str = "") -> list[dict[str, Any]]:
    """The JSON objects in a file that has one on each line.

    Lines end with "\\n" alone: names and tags may hold U+0085 or U+2028, at which `str.splitlines` would cut.
    Raises as `read_json`, with the number of the line.
    """
    lines = read_text(path, remedy).split("\n")
    return [parse_json(line, f"{path}, line {number},") for number, line in enumerate(lines, 1) if line.strip()]


@contextlib.contextmanager
def reading(where: Path, remedy: str) -> Iterator[None]:
    """Around a library that reads a file or folder `where`, whose errors on damaged bytes may be of any class.

    Raises:
      UserError: in place of such an error; "WHERE is damaged (reason): REMEDY". Errors of ours, of the system and of
        memory stay as they are.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in SYSTEM_ERRORS:
            raise
        if os.path.exists(where) and not os.access(where, os.R_OK):  # libraries in C++ say it in their own way
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(where)) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{os.fspath(where)} is damaged ({reason}): {remedy}") from error


@contextlib.contextmanager
def blamed_on(path: Path) -> Iterator[None]:
    """Names `path` in an OSError that names no file, such as what write() raises where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


@contextlib.contextmanager
def replaced(path: Path, aside: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write in the place of `path`, whole or not at all: another one there stays until this is on disk.

    Args:
      path: of the file.
      aside: folder that it is in until then, on the same disk; None is its own.
    """
    path = pathlib.Path(path)
    hidden = {"dir": path.parent if aside is None else aside, "prefix": f".{path.name[:50]}."}
    with blamed_on(path), tempfile.NamedTemporaryFile("wb", delete=False, **hidden) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o666 & ~_umask())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def sync(path: Path) -> None:
    """Waits until what a library has written to a file is on disk: a name given to it before may outlive a crash of
    the machine that its content does not."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file, whole or not at all, as `replaced` says."""
    with replaced(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object as `write_text` does. Copies of folders in buckets are stored as URLs: paths of this machine
    say nothing to another."""
    copies = json.dumps(f"{buckets.cache()}{os.sep}").removesuffix('"')
    write_text(path, json.dumps(value, indent=2).replace(copies, f'"{buckets.SCHEME}') + "\n")


def json_lines(rows: list[dict[str, Any]]) -> str:
    """Text with one JSON object on each line, as `read_json_lines` reads it; pure ASCII."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def read_arrays(path: Path, remedy: str = "") -> dict[str, "np.ndarray"]:
    """The arrays of an npz file; their checksums are compared, and nothing in them is executed.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is damaged, holds Python objects, or unpacks to more than 16 GiB.
    """
    path = _existing(path, remedy)
    with reading(path, "it is no whole npz"), zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_ARRAY_BYTES:
            raise UserError(f"{path} unpacks to more than {MAX_ARRAY_BYTES} bytes: it is not read")
        # `archive.read` compares the checksum; np.load on the archive itself stops before its end and does not.
        return {entry.filename.removesuffix(".npy"): _array(archive.read(entry)) for entry in archive.infolist()}


def _array(content: bytes) -> "np.ndarray":
    """The array of an entry's bytes; np.load would allocate what the header says before it looks."""
    import numpy as np  # here: the commands answer --help without it

    file = io.BytesIO(content)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = read_header[np.lib.format.read_magic(file)](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    values = np.frombuffer(content, dtype, offset=file.tell())
    return values.reshape(shape, order="F" if fortran else "C").copy(order="K")


def _existing(path: Path, remedy: str = "") -> pathlib.Path:
    path = pathlib.Path(path)
    if not path.is_file():
        raise NotFoundError(f"no {path.name} in {path.parent}" + (f": {remedy}" if remedy else ""))
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
