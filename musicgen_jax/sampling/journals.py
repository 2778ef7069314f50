"""Finished windows on disk, so that an interrupted run goes on where it was."""

import json
import pathlib
import shutil
from typing import Any

import numpy as np

from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import options

FOLDER_NAME, FACTS_NAME = f"{files.OURS}partial", "run.json"


class Journal:
    """The codes of finished windows, a file each. A file is there whole or not at all, whenever the process is killed.

    Attributes:
      folder: OUT/.musicgen_jax.partial.
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
        files.write_json(path, facts)

    def read(self, name: str) -> np.ndarray | None:
        """The codes that `write` kept under this name, now or in an earlier run; None where there are none, or they are
        damaged."""
        try:
            return files.read_arrays(self._path(name))["codes"]
        except UserError:
            return None

    def write(self, name: str, codes: np.ndarray) -> None:
        """Keeps finished codes, int32 of any shape, on disk under this name."""
        with files.replaced(self._path(name)) as file:
            np.savez(file, codes=codes)

    def _path(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.npz"


def remove(out: pathlib.Path) -> None:
    """Takes away what a run has kept in its folder, if anything: once its results are in place."""
    shutil.rmtree(out / FOLDER_NAME, ignore_errors=True)


def differences(found: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two sets of facts, a line each: "request.seed: 0, now 1".

    The request of a folder that is older than some option has that option's default.
    """
    if not prefix:
        found, wanted = _completed(found), _completed(wanted)
    different = []
    for name in dict.fromkeys((*wanted, *found)):
        old, new = found.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            different += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            different.append(f"{prefix}{name}: {json.dumps(old)}, now {json.dumps(new)}")
    return different


def _completed(facts: dict[str, Any]) -> dict[str, Any]:
    return facts | {"request": options.completed(facts["request"])} if "request" in facts else facts


def _require_same(out: pathlib.Path, found: dict[str, Any], facts: dict[str, Any]) -> None:
    if different := differences(found, facts):
        raise UserError(
            f"{out} holds the beginning of another run ({'; '.join(different)}): run that command again to finish it, "
            f"choose another `out`, or remove {out / FOLDER_NAME} to begin anew"
        )
