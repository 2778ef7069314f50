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
    "si_sdr_db": ("SI-SDR, dB", HIGHER),
    "usage": ("share of the codes in use", HIGHER),
    "dead": ("dead codes", LOWER),
    "nats_per_code": ("nats per code", LOWER),
    "bits_per_second": ("bits per second of audio", LOWER),
    "nats_per_note": ("nats per note", LOWER),
    "note_f1": ("note F1 against the score", HIGHER),
    "note_f1_lowest": ("note F1 of the worst sample", HIGHER),
    "transcribed_f1": ("note F1 by transcription", HIGHER),
    "tone": ("share of the sound that is notes", HIGHER),
}
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
}
OTHERS = "Samples against recordings"


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number of metrics.json.

    Attributes:
      value: finite.
      low, high: interval of the mean, or None where it is not known.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a reader is told of a figure.

    Attributes:
      title: its name.
      of: what it is of, such as a stream; may be "".
      better: LOWER, HIGHER, or "" where neither is.
      group: heading that it stands under.
      model: workdir whose training made it what it is, as in `about.training_steps`; "" where it took all.
    """

    title: str
    of: str
    better: str
    group: str
    model: str


def figures_of(metrics: Mapping[str, Any]) -> dict[tuple[str, ...], Figure]:
    """Path of keys -> figure: numbers, and means with their intervals. What is of single pieces is left out."""
    found: dict[tuple[str, ...], Figure] = {}
    for name, value in metrics.items():
        if name not in NOT_FIGURES and isinstance(value, Mapping):
            # Distances by different embeddings are no versions of one figure.
            prefix = (name, str(value["embedding"])) if isinstance(value.get("embedding"), str) else (name,)
            found |= dict(_walk(value, prefix))
    return found


def meaning(path: tuple[str, ...]) -> Meaning:
    """What the figure at a path of metrics.json means."""
    group, *between, name = path
    title, better = KNOWN.get(name, (name.replace("_", " "), _direction(name)))
    if name == "perplexity":
        title, better = ("code perplexity", HIGHER) if group == "codebook" else ("perplexity", LOWER)
    if name == "value" and group == "fad":
        title, better = "Fréchet distance", LOWER
    if BESIDE.search("_".join((*between, name))) and name not in KNOWN:
        better = ""
    models = {"reconstruction": "vqvae", "codebook": "vqvae", "prior": between[0] if between else ""}
    model = "composer" if name.endswith("per_note") else models.get(group, "")
    return Meaning(title, " ".join(between), better, GROUPS.get(group, OTHERS), model)


def _direction(name: str) -> str:
    return next((better for better, words in WORDS.items() if re.search(words, name)), "")


def _walk(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Figure]]:
    for name, value in values.items():
        interval = values.get(f"{name}_low"), values.get(f"{name}_high")
        if isinstance(value, Mapping):
            if _is_number(value.get("mean")):
                yield (*path, name), Figure(value["mean"], *_pair(value.get("low"), value.get("high")))
            else:
                yield from _walk(value, (*path, name))
        elif _is_number(value) and not _is_end(name, values):
            yield (*path, name), Figure(value, *_pair(*interval))


def _is_end(name: str, values: Mapping[str, Any]) -> bool:
    """Whether a number is the end of the interval of another."""
    return name.endswith(("_low", "_high")) and name.rpartition("_")[0] in values


def _pair(low: Any, high: Any) -> tuple[float | None, float | None]:
    return (low, high) if _is_number(low) and _is_number(high) else (None, None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
