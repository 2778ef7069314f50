"""metrics.jsonl: one JSON object a logged step, always with `step`."""

import json
import math
import os
import pathlib
from typing import Any

import jax
import numpy as np


class MetricsWriter:
    """Appends averaged metrics to metrics.jsonl; only process 0 writes.

    Starting at `step`, it first drops lines of later steps: an interrupted run had logged them, and the steps will be
    taken, and logged, again.
    """

    def __init__(self, path: pathlib.Path, step: int):
        self._path = path if jax.process_index() == 0 else None
        self._sums: dict[str, float] = {}
        self._count = 0
        if self._path is not None and self._path.exists():
            lines = [line for line in self._path.read_text().splitlines() if _is_up_to(line, step)]
            partial = self._path.with_name(self._path.name + ".partial")
            partial.write_text("".join(line + "\n" for line in lines))
            partial.replace(self._path)  # at once: a run killed here must not lose its history

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


def _is_up_to(line: str, step: float) -> bool:
    try:
        return json.loads(line)["step"] <= step
    except (json.JSONDecodeError, KeyError):
        return False  # the last line of a killed run may be torn


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All whole lines of a metrics.jsonl, in order; an empty list where the file does not exist."""
    path = pathlib.Path(path)
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if _is_up_to(line, math.inf)]
