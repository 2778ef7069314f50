"""The tables of the report: evaluate's metrics.json for readers."""

import html
import math
from collections.abc import Mapping
from typing import Any

NOT_MEASURED = "not measured"


def reconstruction_table(metrics: Mapping[str, Any]) -> str:
    """One row a tier: how close the tokenizer's reconstruction is, and how much of its codebook it uses."""
    reconstruction, codebook = metrics.get("reconstruction", {}), metrics.get("codebook", {})
    rows = []
    for tier in {**reconstruction, **codebook}:
        measures, usage = reconstruction.get(tier, {}), codebook.get(tier, {})
        silent = _reason(metrics, f"reconstruction.{tier}.si_sdr_db")
        rows.append(
            [
                tier,
                number(measures.get("spectral_convergence_db"), ".2f", silent),
                scientific(measures.get("multiscale_spectral_mse")),
                number(measures.get("si_sdr_db"), ".2f", silent),
                number(usage.get("usage"), ".1%"),
                number(usage.get("perplexity"), ",.1f"),
                number(usage.get("dead"), ",d"),
                number(measures.get("num_clips"), ",d"),
            ]
        )
    if not rows:
        return absent("The tokenizer was not measured in this evaluation.")
    heads = [
        ("tier", ""),
        ("spectral convergence, dB", "lower"),
        ("multi-scale spectral MSE", "lower"),
        ("SI-SDR, dB", "higher"),
        ("codes in use", "higher"),
        ("code perplexity", "higher"),
        ("dead codes", "lower"),
        ("clips", ""),
    ]
    return table(heads, rows)


def prior_table(metrics: Mapping[str, Any]) -> str:
    """One row a prior, beside the unigram and bigram models; then the bits per second of all priors together."""
    prior = metrics.get("prior", {})
    rows = []
    for tier, measures in streams_of(prior).items():
        nats, bigram = measures.get("nats_per_code"), measures.get("bigram_nats")
        difference = nats - bigram if _is_number(nats) and _is_number(bigram) else None
        verdict = "" if difference is None else ("good" if difference < 0 else "bad")
        rows.append(
            [
                tier,
                f"<b>{number(nats, '.3f')}</b>",
                number(bigram, ".3f"),
                number(measures.get("unigram_nats"), ".3f"),
                f'<span class="{verdict}">{number(difference, "+.3f")}</span>',
                number(measures.get("perplexity"), ",.1f"),
                number(measures.get("num_codes"), ",d"),
                number(measures.get("seconds"), ",.1f"),
            ]
        )
    if not rows:
        return absent("No prior was given to this evaluation, so there is no likelihood to show.")
    heads = [
        ("prior", ""),
        ("nats per code", "lower"),
        ("bigram model", ""),
        ("unigram model", ""),
        ("prior minus bigram", "below 0 is better"),
        ("perplexity", "lower"),
        ("codes", ""),
        ("seconds of audio", ""),
    ]
    bits = prior.get("bits_per_second")
    total = f"<b>{number(bits, ',.0f')}</b> bits per second of audio."
    if bits is None:
        total = f"no figure, because {html.escape(_reason(metrics, 'prior.bits_per_second'))}."
    return table(heads, rows) + f"<p>All priors together: {total}</p>"


def score_table(metrics: Mapping[str, Any]) -> str:
    """Whether samples play their scores, and what those are like, beside held-out music."""
    score = metrics.get("score", {})
    if "statistics" not in score:
        return absent("No sample was told a score, so there are no notes to compare.") + _composer_line(metrics)
    low, high = (number(score.get(f"note_f1_{end}"), ".3f") for end in ("low", "high"))
    why = _reason(metrics, "score.note_f1")
    rows = [
        [
            "samples, their scores",
            f"<b>{number(score.get('note_f1'), '.3f', why)}</b>",
            number(score.get("tone"), ".2f", why),
        ],
        ["interval of that mean", f"{low} to {high}", ""],
        ["the worst sample", number(score.get("note_f1_lowest"), ".3f", why), ""],
        ["samples, another sample's score", _beside_score(metrics, "note_f1_shuffled"), ""],
        ["held-out recordings", _beside_score(metrics, "note_f1_ceiling"), number(score.get("tone_ceiling"), ".2f")],
    ]
    heads = [("", ""), ("note F1", "higher"), ("tone", "higher")]
    return (
        table(heads, rows) + _transcribed_line(score) + _statistics_table(score["statistics"]) + _composer_line(metrics)
    )


def _transcribed_line(score: Mapping[str, Any]) -> str:
    if "transcribed_f1" not in score:
        return ""
    beside = [("held-out recordings", "transcribed_f1_ceiling"), ("another sample's score", "transcribed_f1_shuffled")]
    known = "".join(f"; {name} {number(score[key], '.3f')}" for name, key in beside if key in score)
    value = number(score["transcribed_f1"], ".3f")
    return f"<p>Notes that a transcribing network hears begin, F1 against the score: <b>{value}</b>{known}.</p>"


def _composer_line(metrics: Mapping[str, Any]) -> str:
    score, reason = metrics.get("score", {}), _reason(metrics, "score.nats_per_note")
    if "nats_per_note" not in score:
        return "" if reason == NOT_MEASURED else absent(f"No figure of the composer: {reason}.")
    nats, bigram = (number(score[f"{name}nats_per_note"], ".2f") for name in ("", "bigram_"))
    return (
        f"<p>The composer needs <b>{nats}</b> nats a note for {score['num_pieces']} held-out scores, a bigram model of "
        f"each voice {bigram}: lower is better.</p>"
    )


def _beside_score(metrics: Mapping[str, Any], name: str) -> str:
    return number(metrics["score"].get(name), ".3f", _reason(metrics, f"score.{name}"))


STATISTICS = {
    "notes_per_second": "notes a second",
    "note_seconds": "seconds a note",
    "polyphony": "notes at once",
    "key_share": "share in the best key",
    "num_pitch_classes": "pitch classes",
    "recurrence": "figures heard before, share",
    "recurrence_shuffled": "the same, steps shuffled",
}


def _statistics_table(statistics: Mapping[str, Any]) -> str:
    sides = {"scores of the samples": "samples", "held-out scores": "held_out"}
    rows = [
        [name, *(_interval(statistics[side].get(key, {})) for key in STATISTICS)]
        for name, side in sides.items()
        if side in statistics
    ]
    heads = [("", ""), *((title, "mean, interval") for title in STATISTICS.values())]
    distances = [
        f"{title} {number(statistics[key], '.2f')}"
        for title, key in (("melodic steps", "interval_distance"), ("degrees of the scale", "pitch_class_distance"))
        if key in statistics
    ]
    text = f"<p>Distance of the histograms, from 0 to 1: {', '.join(distances)}.</p>" if distances else ""
    return table(heads, rows) + text


def _interval(mean: Mapping[str, Any]) -> str:
    low, high = (number(mean.get(end), ".2f") for end in ("low", "high"))
    return f"{number(mean.get('mean'), '.2f')} <small>({low} to {high})</small>"


def fad_table(metrics: Mapping[str, Any]) -> str:
    """The distances in each embedding, with everything that a reader needs to compare them."""
    distances = metrics.get("distances") or ({"": metrics["fad"]} if metrics.get("fad") else {})
    if not distances:
        if "fad" in metrics.get("absent", {}):
            return absent(f"No Fréchet distance: {_reason(metrics, 'fad')}.")
        return absent("No samples were given to this evaluation, so there is no Fréchet distance to show.")
    heads = [
        ("", ""),
        ("Fréchet distance", "lower"),
        ("extrapolated to endlessly many frames", "lower"),
        ("kernel distance", "lower"),
        ("embedding", ""),
        ("clips", ""),
        ("seconds a clip", ""),
        ("frames", ""),
        ("frames of recordings", ""),
    ]
    rows = []
    for place, (name, found) in enumerate(distances.items()):
        where = "fad" if place == 0 else name
        infinite, kernel = found.get("infinite", {}), found.get("kernel", {})
        alike = [
            html.escape(str(found.get("embedding", "not named"))),
            number(found.get("num_clips"), ",d"),
            number(found.get("clip_seconds"), ".4g"),
        ]
        rows.append(
            [
                html.escape(f"{name}: samples".removeprefix(": ")),
                f"<b>{number(found.get('value'), '.3f')}</b>",
                number(infinite.get("value"), ".3f", _reason(metrics, f"{where}.infinite")),
                number(kernel.get("value"), ".3f", _reason(metrics, f"{where}.kernel")),
                *alike,
                *_frames(found, ""),
            ]
        )
        floor = number(found.get("floor"), ".3f", _reason(metrics, f"{where}.floor"))
        kernel_floor = number(kernel.get("floor"), ".3f", _reason(metrics, f"{where}.floor"))
        nothing = number(None, "", "of the samples alone")
        rows.append(["floor: as many recordings", floor, nothing, kernel_floor, *alike, *_frames(found, "floor_")])
    return table(heads, rows) + "".join(map(_doubt, distances.values()))


def _frames(found: Mapping[str, Any], prefix: str) -> list[str]:
    return [number(found.get(f"{prefix}{key}"), ",d") for key in ("num_frames", "num_reference_frames")]


def _doubt(fad: Mapping[str, Any]) -> str:
    if fad.get("reliable", True):
        return ""
    remedy = "Compare it with the floor only, and use" if "floor" in fad else "Use"
    return (
        f'<p class="warn">Unreliable, {html.escape(str(fad.get("embedding", "")))}: a set has fewer frames than the '
        f"embedding has dimensions ({fad['dimensions']}), too few to know its covariance. {remedy} more or longer "
        "samples.</p>"
    )


def about_line(metrics: Mapping[str, Any]) -> str:
    """What the figures were measured with and when, and how long the models were trained, as HTML; "" if not known."""
    about = metrics.get("about")
    if not about:
        return ""
    steps = [
        f"{name} {f'{count:,} steps' if count else 'not trained in its folder'}"
        for name, count in about["training_steps"].items()
    ]
    date = about["date"].replace("T", " ").replace("+00:00", " UTC")
    parts = [f"musicgen_jax {about['version']}", date, f"measured on {about['hardware']}"]
    parts += [f"trained: {', '.join(steps)}"] if steps else []
    return f'<p class="about">{" &middot; ".join(map(html.escape, parts))}</p>'


def settings_table(settings: Mapping[str, Any]) -> str:
    """Names and values, nested names joined by dots."""
    flat = _flatten(settings)
    if not flat:
        return absent("No settings were recorded.")
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(format_setting(value))}</td></tr>'
        for name, value in flat.items()
    )
    return f'<div class="scroll"><table class="settings"><tbody>{rows}</tbody></table></div>'


def table(heads: list[tuple[str, str]], rows: list[list[str]]) -> str:
    """A table of HTML cells; heads: (title, which direction is better or ''). The first cell of a row names it."""
    arrows = {"lower": "&nbsp;↓", "higher": "&nbsp;↑"}
    head = ""
    for title, better in heads:
        hint = f"{better} is better" if better in arrows else better
        small = f"<small>{html.escape(hint)}</small>" if hint else ""
        head += f'<th scope="col">{html.escape(title)}{arrows.get(better, "")}{small}</th>'
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def number(value: Any, form: str, reason: str = NOT_MEASURED) -> str:
    """A number in the given format; a dash with the reason where it is absent or not finite."""
    if not _is_number(value):
        return f'<span class="muted" title="{html.escape(reason, quote=True)}">&ndash;</span>'
    return format(int(value) if form.endswith("d") else value, form).replace("-", "&minus;")


def scientific(value: Any) -> str:
    """A number as a power of ten with two decimals; a dash where it is absent or not finite."""
    if not _is_number(value):
        return number(value, "")
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa} &times; 10<sup>{int(exponent)}</sup>".replace("-", "&minus;")


def readable(value: float) -> str:
    """A number of any size with about four digits, as HTML."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        text = f"{value:.4g}"
    elif 1e4 <= abs(value) < 1e12:
        text = f"{value:,.0f}"
    else:
        return scientific(value)
    return text.replace("-", "&minus;")


def format_setting(value: Any) -> str:
    """A setting as a person writes it: yes and no, lists with commas, values by stream behind the streams' names."""
    if value is None or value == "":
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {format_setting(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(format_setting(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def absent(sentence: str) -> str:
    """A paragraph in place of a result that does not exist."""
    return f'<p class="absent">{html.escape(sentence)}</p>'


def _reason(metrics: Mapping[str, Any], name: str) -> str:
    return metrics.get("absent", {}).get(name, NOT_MEASURED)


def streams_of(prior: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The part of the metrics `prior` that is of single streams: {stream: figures}; the rest is of all together."""
    return {name: found for name, found in prior.items() if isinstance(found, Mapping)}


def _is_number(value: Any) -> bool:
    return value is not None and not isinstance(value, str) and math.isfinite(value)


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat
