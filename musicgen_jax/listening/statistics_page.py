"""The statistics of a study for readers: one self-contained page, and its pictures as files."""

import html
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from musicgen_jax.evaluation import page, report_tables
from musicgen_jax.evaluation.report_tables import number
from musicgen_jax.listening import interval_chart
from musicgen_jax.listening.interval_chart import Row
from musicgen_jax.listening.ratings import SCALES
from musicgen_jax.runtime import files

LEADS = {
    "mushra": "Every system was rated against an open reference, 0 (bad) to 100 (excellent), beside the hidden "
    "reference and low-pass filtered anchors (ITU-R BS.1534-3).",
    "mos": "Every clip was rated by itself, 1 (bad) to 5 (excellent) (ITU-T P.800).",
    "abx": "Listeners heard two systems, A and B, and then one of them again as X, and said which one X is.",
    "ab": "Listeners heard two systems and said which one they prefer.",
}
INTERVALS = "Intervals are 95 %, and hold for other listeners too, and for other items where there are several."


def write(path: pathlib.Path, plots: pathlib.Path, found: Mapping[str, Any]) -> None:
    """Writes the page, and each picture as an SVG file in the folder `plots`.

    Args:
      path: of the page.
      plots: made where it is absent; pictures of an earlier analysis that this one does not have are removed.
      found: what `analysis.analyse` returns.
    """
    charts = _rating_charts(found) if found["design"] in SCALES else _share_chart(found)
    plots.mkdir(exist_ok=True)
    for name, (_, svg) in charts.items():
        files.write_text(plots / f"{name}.svg", interval_chart.file(svg))
    for stale in {"systems", "differences", "shares"} - set(charts):
        (plots / f"{stale}.svg").unlink(missing_ok=True)
    tables = _rating_sections(found) if found["design"] in SCALES else _pair_section(found)
    cards = [f'<div class="card" style="max-width:38rem"><h3>{title}</h3>{svg}</div>' for title, svg in charts.values()]
    drawn = "".join(cards)
    sections = _section("Result", INTERVALS, f'<div class="charts">{drawn}</div>' if drawn else "") + tables
    text = page.filled(
        "listening/statistics_page.html",
        title=html.escape(found["title"]),
        lead=html.escape(LEADS[found["design"]]),
        headline=_headline(found),
        sections=sections + _listeners(found) + _absent(found["absent"]),
    )
    files.write_text(path, text)


def _rating_charts(found: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """File's name -> (title, picture)."""
    rows = [
        Row(name, one["mean"], one["low"], one["high"], (one["quartile_1"], one["median"], one["quartile_3"]))
        for name, one in found["systems"].items()
    ]
    charts = {}
    if rows:
        label = f"{found['design'].upper()}: mean, 95 % interval, quartiles"
        charts["systems"] = ("Ratings", interval_chart.draw(rows, label, SCALES[found["design"]]))
    pairs = {name: one["difference"] for name, one in found.get("pairs", {}).items() if "difference" in one}
    if pairs:
        rows = [
            Row(name.replace(" vs ", " \N{MINUS SIGN} "), one["mean"], one["low"], one["high"])
            for name, one in pairs.items()
        ]
        charts["differences"] = (
            "Differences",
            interval_chart.draw(rows, "difference of means, 95 % interval", mark=0.0),
        )
    return charts


def _share_chart(found: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """File's name -> (title, picture)."""
    rows = [Row(name, one["share"]["mean"], one["share"]["low"], one["share"]["high"])
            for name, one in found.get("pairs", {}).items()]  # fmt: skip
    if not rows:
        return {}
    label = "share of right answers" if found["design"] == "abx" else "share that prefers the first, no preference half"
    return {"shares": ("Shares", interval_chart.draw(rows, f"{label}, 95 % interval", (0.0, 1.0), mark=0.5))}


def _headline(found: Mapping[str, Any]) -> str:
    counts = found["answers"]
    cards = [(counts["listeners"], "listeners"), (counts["items"], "items"), (counts["given"], "answers")]
    if "missing" in counts:
        cards.append((counts["missing"], "answers that these listeners have yet to give"))
    if excluded := sum(bool(one["excluded"]) for one in found.get("screening", {}).values()):
        cards.append((excluded, "listeners left out by post-screening"))
    return "".join(f'<div class="figure"><b>{value:,}</b><span>{text}</span></div>' for value, text in cards)


def _rating_sections(found: Mapping[str, Any]) -> str:
    """Tables of systems and pairs."""
    absent = found["absent"]
    rows = []
    for name in dict.fromkeys([*found["compared"], *found["systems"]]):
        one = found["systems"].get(name, {})
        why = absent.get(f"systems.{name}.interval") or absent.get(f"systems.{name}", "no answers")
        rows.append(
            [
                html.escape(name),
                number(one.get("mean"), ".2f", why),
                _interval(one, ".2f", why),
                number(one.get("median"), ".2f", why),
                number(one.get("iqr"), ".2f", why),
                number(one.get("num_ratings"), ",d", why),
            ]
        )
    heads = [
        ("system", ""),
        ("mean", "higher"),
        ("95 % interval", ""),
        ("median", "higher"),
        ("IQR", ""),
        ("ratings", ""),
    ]
    systems = _section("Systems", "", report_tables.table(heads, rows)) if rows else ""
    rows = []
    for name, one in found.get("pairs", {}).items():
        difference, test = one.get("difference", {}), one.get("wilcoxon", {})
        untested = absent.get(f"pairs.{name}.wilcoxon", "")
        rows.append(
            [
                html.escape(name),
                number(difference.get("mean"), "+.2f", absent.get(f"pairs.{name}.difference", "")),
                _interval(difference, "+.2f", absent.get(f"pairs.{name}.difference.interval", "")),
                number(test.get("shift"), "+.2f", untested),
                number(test.get("p"), ".2g", untested),
                number(test.get("p_holm"), ".2g", untested),
            ]
        )
    heads = [("pair", ""), ("difference", ""), ("95 % interval", ""), ("Hodges-Lehmann shift", ""), ("p, Wilcoxon", "")]
    what = "p is of the exact signed-rank test over listeners, each with the mean of their differences on these items."
    pairs = _section("Pairs", what, report_tables.table([*heads, ("p, Holm", "")], rows)) if rows else ""
    return systems + pairs + _further(found, ("friedman", "agreement")) + _power(found)


def _pair_section(found: Mapping[str, Any]) -> str:
    """The table of pairs of `ab` and `abx`."""
    if not found.get("pairs"):
        return ""
    rows = []
    for name, one in found["pairs"].items():
        share = one["share"]
        row = [
            html.escape(name),
            number(share["mean"], ".3f"),
            _interval(share, ".3f", found["absent"].get(f"pairs.{name}.share.interval", "")),
        ]
        if found["design"] == "abx":
            row += [f"{one['correct']} of {one['trials']}", number(one["critical"], "d", "too few trials")]
            row += [number(one["p"], ".2g"), number(one["p_holm"], ".2g"), number(one["equal_listeners_p"], ".2g")]
        else:
            row.append(html.escape(", ".join(f"{who} {times}" for who, times in one["preferred"].items())))
            for kind in ("sign_test", "wilcoxon"):
                row.append(
                    number(one.get(kind, {}).get("p_holm"), ".2g", found["absent"].get(f"pairs.{name}.{kind}", ""))
                )
        rows.append(row)
    names = ["pair", "share", "95 % interval"]
    if found["design"] == "abx":
        names += ["right", "needed for p < 0.05", "p, binomial", "p, Holm", "p, equal listeners"]
    else:
        names += ["preferred", "p, sign test, Holm", "p, Wilcoxon over listeners, Holm"]
    pairs = _section("Pairs", found.get("caution", ""), report_tables.table([(one, "") for one in names], rows))
    return pairs + _each_listener(found) + _further(found, ("first_position", "agreement"))


def _each_listener(found: Mapping[str, Any]) -> str:
    """The table of each listener's own result, of `abx`."""
    rows = [
        [html.escape(listener), html.escape(name), f"{own['correct']} of {own['trials']}", number(own["p"], ".2g")]
        for name, one in found["pairs"].items()
        for listener, own in one.get("by_listener", {}).items()
    ]
    heads = [("listener", ""), ("pair", ""), ("right", ""), ("p, binomial", "")]
    return _section("Each listener", "", report_tables.table(heads, rows)) if rows else ""


def _further(found: Mapping[str, Any], names: Sequence[str]) -> str:
    rest = {name: found[name] for name in names if name in found}
    return _section("Further figures", "", report_tables.settings_table(rest)) if rest else ""


def _power(found: Mapping[str, Any]) -> str:
    """How many listeners the next study needs."""
    if "power" not in found:
        return ""
    rows = [
        [difference, html.escape(f"{needed:,}" if isinstance(needed, int) else needed)]
        for difference, needed in found["power"]["listeners_needed"].items()
    ]
    what = (
        f"Of the next study with {found['power']['items']} items, if it is to find a difference of this size between "
        "two systems in 80 of 100 studies, and listeners and items differ as in this one."
    )
    table = report_tables.table([("difference to find", ""), ("listeners needed", "")], rows)
    return _section("How many listeners", what, table)


def _listeners(found: Mapping[str, Any]) -> str:
    """Who was left out, and whose answers look strange."""
    rows = [(name, "", f"left out: {one['excluded']}") for name, one in found.get("screening", {}).items()
            if one["excluded"]]  # fmt: skip
    rows += [(one["listener"], one["item"], one["doubt"]) for one in found["doubts"]]
    if not rows:
        return ""
    cells = [[html.escape(cell) for cell in row] for row in rows]
    what = "Answers that are doubted count all the same; those of listeners who are left out do not."
    return _section("Listeners", what, report_tables.table([("listener", ""), ("item", ""), ("remark", "")], cells))


def _absent(reasons: Mapping[str, str]) -> str:
    return _section("What is absent, and why", "", report_tables.settings_table(reasons)) if reasons else ""


def _interval(found: Mapping[str, Any], form: str, why: str) -> str:
    if found.get("low") is None:
        return number(None, form, why)
    return f"{number(found['low'], form)} to {number(found['high'], form)}"


def _section(title: str, what: str, content: str) -> str:
    name = re.sub(r"\W+", "-", title.lower()).strip("-")
    told = f'<p class="what">{html.escape(what)}</p>' if what else ""
    return f'<section id="{name}"><h2>{html.escape(title)}</h2>{told}{content}</section>' if content else ""
