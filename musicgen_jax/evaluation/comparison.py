"""Several evaluations side by side: what each folder holds, and one page of all of them."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from musicgen_jax.config import require
from musicgen_jax.evaluation import comparison_page, figures, report_contents
from musicgen_jax.evaluation.comparison_page import Run
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import NotFoundError, UserError

INFO_NAME = "comparison.json"
MAX_RUNS = 12  # more are no longer told apart on a page
# Settings of an evaluation that decide what its figures are measured on.
DECISIVE = ("data", "split", "max_seconds", "max_codes")


def compare(folders: Mapping[str, str], out: str) -> list[str]:
    """Writes comparison.json and report.html, which compares evaluations, to the folder `out`; says what to mind.

    Args:
      folders: run -> folder that `evaluation.evaluate` wrote, in the order of the page.
      out: the folder.

    Returns:
      Cautions, a sentence each: which runs were judged on other data, which have nothing to listen to.

    Raises:
      NotFoundError: a folder is not there, or has no metrics.json.
      UserError: fewer than two runs, or more than 12; what a folder holds is damaged.
    """
    require(2 <= len(folders) <= MAX_RUNS, f"`compare` has {len(folders)} runs: pass 2 to {MAX_RUNS}, each NAME=DIR")
    runs = [_read(name, path) for name, path in folders.items()]
    cautions = [run.silence for run in runs if run.silence] + _different(runs)
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / INFO_NAME, {"runs": dict(folders), "figures": _table(runs), "cautions": cautions})
    comparison_page.write(folder / "report.html", runs, cautions)
    return cautions


def _read(name: str, path: str) -> Run:
    folder = pathlib.Path(path)
    if not folder.is_dir():
        raise NotFoundError(f"`compare`: no such folder: {path}; pass folders that evaluate wrote")
    metrics = files.read_json(folder / "metrics.json", "pass a folder that evaluate wrote")
    require("reconstruction" in metrics, f"{folder / 'metrics.json'} is of no evaluation: pass a folder of evaluate")
    if (folder / report_contents.INFO_NAME).exists():
        return Run(name, path, metrics, report_contents.read(folder))
    nothing = report_contents.Contents((), (), {}, {}, 0)
    silence = f"{name} has no sounds, pictures or curves, for an older version wrote {path}: evaluate it again"
    return Run(name, path, metrics, nothing, silence)


def _different(runs: Sequence[Run]) -> list[str]:
    """What was not the same in all evaluations, so that their figures do not compare; a sentence a setting."""
    found = []
    for setting in DECISIVE:
        values = {run.name: run.contents.settings[setting] for run in runs if setting in run.contents.settings}
        if len({repr(value) for value in values.values()}) > 1:
            each = ", ".join(f"{name} {value}" for name, value in values.items())
            found.append(f"the evaluations differ in {setting} ({each}): compare their figures with care")
    return found


def _table(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Path of a figure, joined by dots -> run -> value and interval."""
    table: dict[str, dict[str, Any]] = {}
    for run in runs:
        for path, figure in figures.figures_of(run.metrics).items():
            values = {"value": figure.value, "low": figure.low, "high": figure.high}
            table.setdefault(".".join(path), {})[run.name] = values
    return table


def parse(texts: Sequence[str]) -> dict[str, str]:
    """NAME=DIR, several times -> run -> folder. Raises UserError where one is written otherwise, or a name twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, path = (part.strip() for part in text.partition("="))
        if not (name and equals and path):
            raise UserError(f"`compare`: {text!r} must be a name and a folder: --compare=A=DIR,B=DIR")
        require(name not in found, f"`compare`: {name} is named twice")
        found[name] = str(files.local_path(path, "compare"))
    return found
