"""The single figures of a metrics.json: what each is called, which direction is better, and how sure it is."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

LOWER, HIGHER = "lower", "higher"
# Last word of a figure's path -> (what a reader calls it, which direction is better).
KNOWN = {
    "spectral_convergence_db": ("spectral convergence, dB", LOWER),
    "multiscale_spectral_mse": ("multi-scale spectral MSE", LOWER),
    "multiscale_mel_db": ("multi-scale mel distance, dB", LOWER),
    "log_spectral_distance_db": ("log-spectral distance, dB", LOWER),
    "si_sdr_db": ("SI-SDR, dB", HIGHER),
    "f0_error_semitones": ("pitch error, semitones", LOWER),
    "f0_voicing_recall": ("share of the pitched sound that stays pitched", HIGHER),
    "loudness_error_db": ("loudness error, dB", LOWER),
    "usage": ("share of the codes in use", HIGHER),
    "dead": ("dead codes", LOWER),
    "nats_per_code": ("nats per code", LOWER),
    "nats_minus_bigram": ("nats per code, minus a bigram model's", LOWER),
    "bits_per_second": ("bits per second of audio", LOWER),
    "nats_per_note": ("nats per note", LOWER),
    "note_f1": ("note F1 against the score", HIGHER),
    "note_f1_lowest": ("note F1 of the worst sample", HIGHER),
    "transcribed_f1": ("note F1 by transcription", HIGHER),
    "tone": ("share of the sound that is notes", HIGHER),
    # Neither direction is better: they are compared with the same of recordings.
    "repetition": ("share of figures that come back, beyond chance", ""),
    "key_stability": ("stability of the key", ""),
    "tempo_stability": ("stability of the tempo", ""),
}
# Last two words of the path of a distance.
DISTANCES = {
    "value": ("Fréchet distance", LOWER),
    "infinite.value": ("Fréchet distance, extrapolated to endlessly many frames", LOWER),
    "kernel.value": ("kernel distance", LOWER),
}
DETAILS = ("note_nats", "transcribed")  # parts of metrics.json that tell more of figures that stand above them
# What a word in the name of any other figure says of it.
WORDS = {LOWER: r"distance|error|mse|deviation|divergence", HIGHER: r"(^|_)(f1|precision|recall|accuracy|sdr)(_|$)"}
# What a figure stands beside says nothing of the run: baselines, floors, and how much was measured.
BESIDE = re.compile(r"(^|_)(bigram|unigram|floor|ceiling|shuffled|num|seconds|dimensions|share|held)(_|$)")
NOT_FIGURES = ("about", "absent", "split")
GROUPS = {
    "reconstruction": "Tokenizer",
    "codebook": "Tokenizer",
    "prior": "Priors",
    "score": "Samples and scores",
    "structure": "Structure in time",
}
OTHERS = "Samples against recordings"


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number of metrics.json.

    Attributes:
      value: finite.
      low, high: interval of the mean, or None where it is not known.
      pieces: name of a piece -> its own value, where it is known.
    """

    value: float
    low: float | None = None
    high: float | None = None
    pieces: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a reader is told of a figure.

    Attributes:
      title: its name.
      of: what it is of, such as a stream; may be "".
      better: LOWER, HIGHER, or "" where neither is.
      group: heading that it stands under.
      model: workdir whose training made it what it is, as in `about.training_steps`; "" where it took all.
      main: whether a reader wants to see it first.
    """

    title: str
    of: str
    better: str
    group: str
    model: str
    main: bool


def figures_of(metrics: Mapping[str, Any]) -> dict[tuple[str, ...], Figure]:
    """Path of keys -> figure: numbers, and means with their intervals, in whatever place metrics.json has these."""
    found: dict[tuple[str, ...], Figure] = {}
    for name, value in metrics.items():
        repeated = name == "fad" and "distances" in metrics  # the first of the distances once more
        if name not in NOT_FIGURES and isinstance(value, Mapping) and not repeated:
            # Distances by different embeddings are no versions of one figure.
            embedding = value.get("embedding")
            found |= dict(_walk(value, (name, embedding) if isinstance(embedding, str) else (name,)))
    return found


def meaning(path: tuple[str, ...]) -> Meaning:
    """What the figure at a path of metrics.json means."""
    group, *between, name = path
    title, better = KNOWN.get(name, (name.replace("_", " "), _direction(name)))
    if name == "perplexity":
        title, better = ("code perplexity", HIGHER) if group == "codebook" else ("perplexity", LOWER)
    if group in ("fad", "distances"):
        title, better = DISTANCES.get(".".join(path[2:]), (title, better))
        between = between[:1]
    if BESIDE.search("_".join((*between, name))) and name not in KNOWN:
        better = ""
    models = {"reconstruction": "vqvae", "codebook": "vqvae", "prior": between[0] if between else ""}
    model = "composer" if name.endswith("per_note") else models.get(group, "")
    main = bool(better) or (group == "structure" and name in KNOWN)
    return Meaning(title, " ".join(between).replace("_", "-"), better, GROUPS.get(group, OTHERS), model, main)


def _direction(name: str) -> str:
    return next((better for better, words in WORDS.items() if re.search(words, name)), "")


def _walk(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Figure]]:
    intervals = values.get("intervals", {})
    rows = [row for key in ("tracks", "samples") for row in _rows(values.get(key))]
    for name, value in {**intervals, **values}.items():
        if name == "intervals" or isinstance(value, list):
            continue
        if isinstance(value, Mapping) and not _is_number(value.get("mean")):
            yield from _walk(value, path if name in DETAILS else (*path, name))
        elif isinstance(value, Mapping) or (_is_number(value) and not _is_end(name, values)):
            pieces = {piece: row[name] for piece, row in rows if _is_number(row.get(name))}
            beside = {"mean": value, "low": values.get(f"{name}_low"), "high": values.get(f"{name}_high")}
            known = value if isinstance(value, Mapping) else intervals.get(name, beside)
            yield (*path, name), Figure(known["mean"], *_pair(known.get("low"), known.get("high")), pieces)


def _rows(rows: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """(name of a piece, its figures) of a list of such. Of distances there is none: alone, a clip's says little."""
    named = [(row.get("track", row.get("name")), row) for row in rows] if isinstance(rows, list) else []
    return [(name, row) for name, row in named if isinstance(name, str) and "value" not in row]


def _is_end(name: str, values: Mapping[str, Any]) -> bool:
    """Whether a number is the end of the interval of another."""
    return name.endswith(("_low", "_high")) and name.rpartition("_")[0] in values


def _pair(low: Any, high: Any) -> tuple[float | None, float | None]:
    return (low, high) if _is_number(low) and _is_number(high) else (None, None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
