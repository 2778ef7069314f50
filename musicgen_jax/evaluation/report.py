"""The evaluation report: one HTML page that carries its sounds, pictures, styles and script inside."""

import html
import os
from collections.abc import Mapping, Sequence
from typing import Any

from musicgen_jax.audio import signal_checks
from musicgen_jax.evaluation import figures_table, page, report_charts, report_media, report_tables
from musicgen_jax.evaluation.report_contents import Contents, Piece, Recording
from musicgen_jax.runtime import files

FAD_CAUTION = (
    "Two values compare only when the embedding, the number of frames, the clip length and the reference recordings "
    "are the same. FAD is said of the embedding VGGish alone; by others it is FD and their name."
)


def write_report(path: str | os.PathLike, title: str, contents: Contents, metrics: Mapping[str, Any]) -> None:
    """Writes the report as one self-contained file; an interrupted call leaves no half page behind.

    Args:
      path: where, in a folder that is there.
      title: heading of the page.
      contents: sounds, pictures, curves and settings.
      metrics: evaluate's metrics.json, its streams coarse to fine: `about`, `reconstruction`, `codebook`, `prior`,
        `fad`, `score`. What is absent is said to be so, with the reason that `absent` has for it.
    """
    text = page.filled(
        "report_template.html",
        title=html.escape(title),
        about=report_tables.about_line(metrics),
        headline=_headline(metrics),
        reconstructions=_reconstructions(contents.recordings),
        samples=_samples(contents.pieces, contents.num_samples, metrics.get("score", {}).get("samples", ())),
        score_table=report_tables.score_table(metrics),
        reconstruction_table=report_tables.reconstruction_table(metrics),
        prior_table=report_tables.prior_table(metrics),
        fad_table=report_tables.fad_table(metrics),
        fad_caution=FAD_CAUTION,
        figures_table=figures_table.table({"this evaluation": metrics}),
        curves=_curves(contents.curves),
        settings=report_tables.settings_table(contents.settings),
    )
    files.write_text(path, text)


def _headline(metrics: Mapping[str, Any]) -> str:
    """Up to four large figures at the top of the page."""
    reconstruction, codebook, prior = (metrics.get(key, {}) for key in ("reconstruction", "codebook", "prior"))
    cards = []
    best = next(reversed(reconstruction), None)  # the finest
    if best:
        value = report_tables.number(reconstruction[best].get("spectral_convergence_db"), ".1f")
        cards.append((f"{value} dB", f"spectral convergence of the {best} tier, lower is better"))
    if "note_f1" in metrics.get("score", {}):
        cards.append(_score_card(metrics["score"]))
    used = [measures["usage"] for measures in codebook.values()]
    if used:
        cards.append((report_tables.number(min(used), ".0%"), "of the codes in use at the least used tier"))
    priors = report_tables.streams_of(prior).values()
    if priors:
        ahead = sum(measures["nats_per_code"] < measures["bigram_nats"] for measures in priors)
        cards.append((f"{ahead} of {len(priors)}", "priors predict codes better than a bigram model"))
    if metrics.get("fad"):
        embedding = html.escape(str(metrics["fad"].get("embedding", "embedding not named")))
        value = report_tables.number(metrics["fad"].get("value"), ".2f")
        floor = report_tables.number(metrics["fad"].get("floor"), ".2f") if "floor" in metrics["fad"] else ""
        beside = f" ({floor}: of recordings from each other)" if floor else ", lower is better"
        beside += ": too few frames to rely on" if not metrics["fad"].get("reliable", True) else ""
        cards.append((value, f"Fréchet distance ({embedding}) of samples from recordings{beside}"))
    return "".join(f'<div class="figure"><b>{value}</b><span>{text}</span></div>' for value, text in cards)


def _score_card(score: Mapping[str, Any]) -> tuple[str, str]:
    value = report_tables.number(score["note_f1"], ".2f")
    beside = [
        f"{name} {report_tables.number(score[key], '.2f')}"
        for name, key in (("recordings", "note_f1_ceiling"), ("wrong scores", "note_f1_shuffled"))
        if key in score
    ]
    text = "note F1: samples play the notes of their scores"
    return value, f"{text} ({', '.join(beside)})" if beside else text


def _reconstructions(recordings: Sequence[Recording]) -> str:
    if not recordings:
        return report_tables.absent("No recordings were chosen for listening.")
    groups = []
    for recording in recordings:
        players = "".join(report_media.player(media, key) for key, media in recording.versions.items())
        name = html.escape(recording.name)
        groups.append(f'<div class="card group"><h3>{name}</h3><div class="players">{players}</div></div>')
    return "".join(groups)


def _samples(pieces: Sequence[Piece], num_samples: int, measured: Sequence[Mapping[str, Any]]) -> str:
    if not pieces:
        return report_tables.absent("No samples were given to this evaluation.")
    figures = {row.get("name"): row for row in measured}
    cards = (f'<div class="card group">{piece_players(one, figures.get(one.name, {}))}</div>' for one in pieces)
    some = f'<p class="muted">The first {len(pieces)} of {num_samples} samples; the figures are of all.</p>'
    return f'<div class="samples">{"".join(cards)}</div>' + (some if num_samples > len(pieces) else "")


def piece_players(piece: Piece, measured: Mapping[str, Any], run: str = "") -> str:
    """The score of a sample, where there is one, above its performance, with its settings and what was measured; the
    run that made it, where there are several."""
    of = f"{run}: " if run else ""
    score = "" if piece.score is None else report_media.player(piece.score, f"{of}the score, synthesized")
    facts = dict(piece.settings)
    if "note_f1" in measured:
        facts["notes as in the score (F1)"] = round(measured["note_f1"], 2)
    chips = "".join(
        f"<span><em>{html.escape(name)}</em> {html.escape(report_tables.format_setting(value))}</span>"
        for name, value in facts.items()
    )
    wrong = f'<p class="warn">The signal: {html.escape(signal_checks.describe(piece.flags))}.</p>'
    detail = f'<p class="chips">{chips}</p>{wrong if piece.flags else ""}'
    return score + report_media.player(piece.performance, run or piece.name, detail=detail)


def _curves(curves: Mapping[str, report_charts.Run]) -> str:
    if not curves:
        return report_tables.absent("No training logs were given to this evaluation.")
    runs = "".join(report_charts.run_charts(name, run) for name, run in curves.items())
    return f'<div class="charts">{runs}</div>'
