"""metrics.jsonl: one JSON object a logged step, always with `step`."""

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from musicgen_jax.runtime import console, files
from musicgen_jax.runtime.errors import UserError

Also = Callable[[int, dict[str, Any]], None]


class MetricsWriter:
    """Appends averaged metrics to metrics.jsonl; only process 0 writes. `also(step, values)` is told of them too.

    Starting at `step`, it first drops lines of later steps: an interrupted run had logged them, and the steps will be
    taken, and logged, again. A file of steps of which nothing else is left, or a damaged one, is kept under another
    name.
    """

    def __init__(self, path: pathlib.Path, step: int, also: Also = lambda step, values: None):
        self._also = also
        self._path = path if jax.process_index() == 0 else None
        self._sums: dict[str, float] = {}
        self._count = 0
        if self._path is None or not path.exists():
            return
        try:
            lines = read(path)
        except UserError as error:
            _keep_aside(path, str(error))
            return
        latest = max((line["step"] for line in lines), default=0)
        if step == 0 and latest > 0:
            _keep_aside(path, f"{path} tells of steps up to {latest}, of which there is no checkpoint")
        else:
            files.write_text(path, files.json_lines([line for line in lines if line["step"] <= step]))

    def accumulate(self, metrics: dict[str, float]) -> None:
        """Adds one step's values to the running averages."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def averages(self) -> dict[str, float]:
        """Means since the last call; starts anew."""
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Appends one line. Values that are not finite are written as null, for JSON has no NaN."""
        if self._path is None:
            return
        safe = {name: (value if np.isfinite(value) else None) for name, value in values.items()}
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step} | safe) + "\n")
        self._also(step, values)


def _keep_aside(path: pathlib.Path, why: str) -> None:
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    path.rename(aside)
    console.say(f"warning: {why}; it is now {aside.name}, and a new one begins")


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All whole lines of a metrics.jsonl, in order; an empty list where the file does not exist.

    Raises:
      UserError: a line is damaged. Not the last one: a run that is killed may leave it torn.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    whole, _, _ = files.read_text(path).rpartition("\n")
    lines = []
    for number, text in enumerate(whole.split("\n") if whole else [], 1):
        where = f"{path}, line {number},"
        lines.append(files.parse_json(text, where))
        if type(lines[-1].get("step")) is not int:
            raise UserError(f"{where} is damaged: it has no step")
        odd = [name for name, value in lines[-1].items() if type(value) not in (int, float, type(None))]
        if odd:
            raise UserError(f"{where} is damaged: {odd[0]} is no number")
    return lines
