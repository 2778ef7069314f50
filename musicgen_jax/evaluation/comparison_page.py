"""The page that compares evaluations: figures in a table, players of the same item in a row, curves in a chart."""

import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from musicgen_jax.evaluation import figures, figures_table, page, report, report_charts, report_media, report_tables
from musicgen_jax.evaluation.figures import Figure
from musicgen_jax.evaluation.report_contents import ORIGINAL, Contents, Piece, Recording
from musicgen_jax.runtime import files

# The first of these that a run logged is its learning curve.
CURVES = ("eval/nats_per_code", "eval/loss", "nats_per_code", "loss")


@dataclasses.dataclass(frozen=True)
class Run:
    """One evaluation.

    Attributes:
      name: what the reader calls it.
      folder: where it lies.
      metrics: its metrics.json.
      contents: what else it shows; empty where an older version wrote it.
      silence: why that is empty, or "".
    """

    name: str
    folder: str
    metrics: dict[str, Any]
    contents: Contents
    silence: str = ""


def write(path: files.Path, runs: Sequence[Run], cautions: Sequence[str]) -> None:
    """Writes the page as one self-contained file."""
    text = page.filled(
        "comparison_template.html",
        title=html.escape(f"musicgen_jax: {_listed([run.name for run in runs])} compared"),
        about="".join(_about(place, run) for place, run in enumerate(runs)),
        cautions="".join(f'<p class="warn caution">{html.escape(one)}</p>' for one in cautions),
        figures=figures_table.table({run.name: run.metrics for run in runs}),
        recordings=_recordings(runs),
        samples=_samples(runs),
        quality=_quality(runs),
        curves=_curves(runs),
        settings="".join(_settings(place, run) for place, run in enumerate(runs)),
    )
    files.write_text(path, text)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}"


def _about(place: int, run: Run) -> str:
    named = f'<p class="about">{figures_table.key(place)}<b>{html.escape(run.name)}</b>: '
    return report_tables.about_line(run.metrics).replace('<p class="about">', named, 1)


def _recordings(runs: Sequence[Run]) -> str:
    """A card a recording: the original beside each run's finest stream; coarser streams below a fold."""
    names = dict.fromkeys(one.name for run in runs for one in run.contents.recordings)
    if not names:
        return report_tables.absent("None of these evaluations has recordings to listen to.")
    found = [{one.name: one for one in run.contents.recordings} for run in runs]
    return "".join(_recording(name, runs, [one.get(name) for one in found]) for name in names)


def _recording(name: str, runs: Sequence[Run], recordings: Sequence[Recording | None]) -> str:
    original = next(one for one in recordings if one is not None).versions[ORIGINAL]
    streams = [[key for key in one.versions if key != ORIGINAL] if one else [] for one in recordings]

    def player(place: int, stream: str) -> str:
        if stream not in streams[place]:
            return _missing(runs[place].name, "nothing of this recording")
        return report_media.player(recordings[place].versions[stream], f"{runs[place].name}: {stream}")

    finest = [player(place, own[-1] if own else "") for place, own in enumerate(streams)]
    coarser = dict.fromkeys(stream for own in streams for stream in own[:-1])
    rows = "".join(
        f"<h4>{html.escape(stream)}</h4>{_row(player(place, stream) for place in range(len(runs)))}"
        for stream in coarser
    )
    fold = f"<details><summary>coarser streams</summary>{rows}</details>" if rows else ""
    row = _row([report_media.player(original, ORIGINAL), *finest])
    return f'<div class="card group"><h3>{html.escape(name)}</h3>{row}{fold}</div>'


def _samples(runs: Sequence[Run]) -> str:
    """A card a sample: that of each run in one row."""
    names = sorted({one.name for run in runs for one in run.contents.pieces})
    if not names:
        return report_tables.absent("None of these evaluations was given samples.")
    found = [{one.name: one for one in run.contents.pieces} for run in runs]
    return "".join(_sample(name, runs, [one.get(name) for one in found]) for name in names)


def _sample(name: str, runs: Sequence[Run], pieces: Sequence[Piece | None]) -> str:
    def cell(place: int) -> str:
        run, piece = runs[place], pieces[place]
        if piece is None:
            return _missing(run.name, "no such sample")
        rows = run.metrics.get("score", {}).get("samples", ())
        measured = next((row for row in rows if row.get("name") == name), {})
        return f"<div>{report.piece_players(piece, measured, run.name)}</div>"

    return f'<div class="card group"><h3>{html.escape(name)}</h3>{_row(map(cell, range(len(runs))))}</div>'


def _row(cells: Iterable[str]) -> str:
    return f'<div class="side">{"".join(cells)}</div>'


def _missing(name: str, what: str) -> str:
    return f'<div><h4>{html.escape(name)}</h4><p class="absent">{what}</p></div>'


def _quality(runs: Sequence[Run]) -> str:
    """A chart a figure that several runs have after different numbers of steps."""
    measured = [figures.figures_of(run.metrics) for run in runs]
    charts = []
    for path in dict.fromkeys(path for one in measured for path in one):
        meaning = figures.meaning(path)
        points = {
            run.name: (steps, figure.value, *_ends(figure))
            for run, one in zip(runs, measured, strict=True)
            if (figure := one.get(path)) and meaning.better and (steps := _steps(run, meaning.model))
        }
        if len({steps for steps, *_ in points.values()}) > 1:
            title = html.escape(" ".join(filter(None, (meaning.title, meaning.of))))
            whose = html.escape(meaning.model or "all models together")
            chart = report_charts.quality_chart(meaning.title, points)
            charts.append(f'<div class="card"><h3>{title}</h3>{chart}<p class="muted">steps of {whose}</p></div>')
    if not charts:
        return report_tables.absent("No figure was measured of several runs after different numbers of steps.")
    return f'<div class="charts">{"".join(charts)}</div>'


def _ends(figure: Figure) -> tuple[float, float]:
    return (figure.value, figure.value) if figure.low is None else (figure.low, figure.high)


def _steps(run: Run, model: str) -> float | None:
    """Steps that a model was trained for, or all of the run's together; None where that is not known."""
    steps = run.metrics.get("about", {}).get("training_steps", {})
    return float(steps[model] if model in steps else sum(steps.values())) if model in ("", *steps) and steps else None


def _curves(runs: Sequence[Run]) -> str:
    """A chart a model, with a line a run."""
    charts = []
    for model in dict.fromkeys(model for run in runs for model in run.contents.curves):
        own = {run.name: run.contents.curves[model].series for run in runs if model in run.contents.curves}
        key = next((key for key in CURVES if any(key in series for series in own.values())), None)
        lines = {name: series[key] for name, series in own.items() if key in series}
        if lines:
            title = html.escape(f"{model}: {key}")
            charts.append(f'<div class="card"><h3>{title}</h3>{report_charts.line_chart(lines)}</div>')
    if not charts:
        return report_tables.absent("None of these evaluations has learning curves.")
    return f'<div class="charts">{"".join(charts)}</div>'


def _settings(place: int, run: Run) -> str:
    settings: Mapping[str, Any] = {"folder": run.folder, **run.contents.settings}
    heading = f'<h3 class="sub">{figures_table.key(place)}{html.escape(run.name)}</h3>'
    return heading + report_tables.settings_table(settings)
