"""The page of `prepare_data --check`: check.json for readers, with its charts, in one self-contained HTML file."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from musicgen_jax.data import licences
from musicgen_jax.evaluation import bar_charts, page, report_tables
from musicgen_jax.runtime import files

SHOWN = 200  # rows of a table; check.json has all
CHARTS = {"loudness": "Loudness", "peaks": "Peaks", "silence": "Silence", "clipping": "Samples at full scale"}


def write(path: files.Path, found: Mapping[str, Any]) -> None:
    """Writes the page; `found` is what `data_check.check` returns."""
    settings = found["settings"]
    text = page.filled(
        "data_page.html",
        title=html.escape(f"Check of {settings['dataset']}"),
        about=html.escape(settings["source"] or "made by the package"),
        headline=_headline(found),
        splits=_splits(found["splits"]),
        leakage=_leakage(found["leakage"]),
        duplicates="".join(_groups(kind, found["duplicates"][kind]) for kind in ("exact", "near")),
        files=_table(
            ("rejected", "reason"), [(row["path"], row["reason"]) for row in found["rejected"]], "None rejected."
        )
        + _table(("kept", "doubt"), [(row["path"], row["warning"]) for row in found["doubtful"]], "None doubtful."),
        sound=_sound(found),
        labels=_labels(found["labels"]),
        licences=_licences(found.get("licence", {})),
        settings=report_tables.settings_table(settings),
    )
    files.write_text(path, text)


def _headline(found: Mapping[str, Any]) -> str:
    """Large figures at the top of the page."""
    cards = [
        (f"{found['files']['ok']:,}", f"tracks, {found['hours']:,.2f} hours"),
        (f"{found['files']['rejected']:,}", "files that cannot be used"),
        (f"{sum(len(group) - 1 for group in found['duplicates']['exact']):,}", "exact duplicates"),
        (f"{sum(len(group) - 1 for group in found['duplicates']['near']):,}", "near duplicates"),
        (f"{len(found['leakage']):,}", "leaks between splits"),
    ]
    if (middle := found.get("loudness", {}).get("percentile_50")) is not None:
        cards.append((f"{middle:.1f}", "LUFS, median loudness"))
    return "".join(f'<div class="figure"><b>{value}</b><span>{text}</span></div>' for value, text in cards)


def _splits(splits: Mapping[str, Mapping[str, float]]) -> str:
    rows = [[name, f"{one['tracks']:,}", f"{one['hours']:,.2f}"] for name, one in splits.items()]
    return report_tables.table([("split", ""), ("tracks", ""), ("hours", "")], rows)


def _leakage(leaks: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for leak in leaks:
        where = "; ".join(f"{split}: {_listed(ids)}" for split, ids in leak["splits"].items())
        rows.append((leak["kind"] + (f": {leak['artist']}" if "artist" in leak else ""), where))
    return _table(("leak", "tracks in each split"), rows, "Nothing is in several splits.")


def _groups(kind: str, groups: Sequence[Sequence[str]]) -> str:
    rows = [(str(number), _listed(group)) for number, group in enumerate(groups, 1)]
    return _table((f"{kind} duplicates", "tracks"), rows, f"No {kind} duplicates.")


def _listed(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:10])
    return shown + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")


def _sound(found: Mapping[str, Any]) -> str:
    charts = {"Length of the tracks": found["durations"]}
    charts |= {name: found[key] for key, name in CHARTS.items() if key in found}
    cards = [_card(name, bar_charts.histogram(one["edges"], one["counts"], one["unit"], name))
             for name, one in charts.items()]  # fmt: skip
    for key, name in (("sample_rates", "Sample rates of the files, Hz"), ("channels", "Channels of the files")):
        if key in found:
            cards.append(_card(name, bar_charts.bars(found[key], name)))
    return f'<div class="charts">{"".join(cards)}</div>'


def _labels(labels: Mapping[str, Mapping[str, int]]) -> str:
    if not labels:
        return report_tables.absent("No track has a label.")
    cards = (_card(html.escape(name), bar_charts.bars(counts, name)) for name, counts in labels.items())
    return f'<div class="charts">{"".join(cards)}</div>'


def _licences(licence: Mapping[str, Any]) -> str:
    if not licence:
        return report_tables.absent("Nothing is known of the licence of these tracks.")
    told = "".join(f"<p>{html.escape(line)}</p>" for line in licences.messages(licence))
    return (
        _card("Tracks", bar_charts.bars({name or "unknown": n for name, n in licence["tracks"].items()}, "licences"))
        + told
    )


def _card(title: str, content: str) -> str:
    return f'<div class="card"><h3>{title}</h3>{content}</div>'


def _table(heads: tuple[str, str], rows: Sequence[tuple[str, str]], nothing: str) -> str:
    if not rows:
        return report_tables.absent(nothing)
    cells = [[html.escape(one), html.escape(other)] for one, other in rows[:SHOWN]]
    more = f'<p class="muted">{len(rows) - SHOWN:,} more are in check.json.</p>' if len(rows) > SHOWN else ""
    return report_tables.table([(head, "") for head in heads], cells) + more
