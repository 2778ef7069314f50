"""The files below a folder that a source can use, and those that it cannot, none of them in silence."""

import collections
import hashlib
import os
from collections.abc import Iterable, Sequence

from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError


def find_files(source: str, extensions: Sequence[str]) -> tuple[list[str], dict[str, int], list[tuple[str, str]]]:
    """Walks a folder, links included.

    Args:
      source: the folder.
      extensions: such as ".wav", in lower case.

    Returns:
      The files that end so, sorted by their `name_of`, be they regular or not; how many other files there are of each
      extension; the folders that could not be listed, each with the reason.

    Raises:
      UserError: `source` is no folder.
      OSError: `source` itself cannot be listed.
    """
    if not os.path.isdir(source):
        raise UserError(f"`source`={source} is no folder; give one with files that end in {' '.join(extensions)}")
    found, ignored, visited = [], collections.Counter(), set()
    errors: list[OSError] = []
    for folder, subfolders, names in os.walk(source, onerror=errors.append, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link back up, or a second way into the same folder
            subfolders.clear()
            continue
        visited.add(real)
        subfolders.sort()
        for name in names:
            extension = os.path.splitext(name)[1].lower()
            if extension in extensions:
                found.append(os.path.join(folder, name))
            else:
                ignored[extension or "(none)"] += 1
    if errors and errors[0].filename == source:  # not one file of it is known
        raise errors[0]
    unlisted = sorted((name_of(error.filename, source), error.strerror or "") for error in errors)
    return sorted(found, key=lambda path: name_of(path, source)), dict(sorted(ignored.items())), unlisted


def name_of(path: str, source: str) -> str:
    """The name of a file in messages and manifest: its path below `source`, as valid text, with slashes."""
    return files.valid_text(os.path.relpath(path, source)).replace(os.sep, "/")


def listing_hash(paths: Iterable[str | os.PathLike[str]], source: str) -> str:
    """A digest of the names and sizes of files: equal ones of two times mean that nothing has changed in between."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{name_of(path, source)}\0{size_of(path)}\n".encode())
    return digest.hexdigest()


def size_of(path: str) -> int:
    """Size of a file in bytes; 0 for a link to nothing."""
    return os.path.getsize(path) if os.path.exists(path) else 0
