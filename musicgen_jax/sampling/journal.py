"""Finished windows on disk, so that an interrupted run goes on where it was."""

import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from musicgen_jax import files
from musicgen_jax.errors import UserError

FOLDER_NAME, FACTS_NAME = "partial", "run.json"


class Journal:
    """The codes of finished windows, a file each. A file is there whole or not at all, whenever the process is killed.

    Attributes:
      folder: OUT/partial.
    """

    def __init__(self, out: pathlib.Path, facts: dict[str, Any]):
        """Opens the journal of a run, or begins one.

        Args:
          out: the run's folder.
          facts: all that decides the codes, as JSON has it.

        Raises:
          UserError: `out` holds the beginning of another run.
        """
        self.folder = out / FOLDER_NAME
        path = self.folder / FACTS_NAME
        if path.is_file():
            _require_same(out, files.read_json(path), facts)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(json.dumps(facts, indent=2).encode()))

    def read(self, name: str) -> np.ndarray | None:
        """What `write` wrote under this name, in this process or one before it."""
        path = self._path(name)
        return files.read_array(path) if path.is_file() else None

    def write(self, name: str, codes: np.ndarray) -> None:
        """Keeps codes that are finished."""
        write_whole(self._path(name), lambda file: np.save(file, codes))

    def _path(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.npy"


def remove(out: pathlib.Path) -> None:
    """Takes away what a run has kept in its folder, if anything: once its results are in place."""
    shutil.rmtree(out / FOLDER_NAME, ignore_errors=True)


def write_whole(path: pathlib.Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file beside its place and renames it: what stands at `path` is never half of it."""
    aside = path.with_name(f".{path.name}.writing")
    with open(aside, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def differences(found: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two sets of facts, a line each: "request.seed: 0, now 1"."""
    different = []
    for name in dict.fromkeys((*wanted, *found)):
        old, new = found.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            different += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            different.append(f"{prefix}{name}: {json.dumps(old)}, now {json.dumps(new)}")
    return different


def _require_same(out: pathlib.Path, found: dict[str, Any], facts: dict[str, Any]) -> None:
    if different := differences(found, facts):
        raise UserError(
            f"{out} holds the beginning of another run ({'; '.join(different)}): run that command again to finish it, "
            f"choose another --out, or remove {out / FOLDER_NAME} to begin anew"
        )
