"""The README's table of results, from the reports of `evaluate`.

    python -m benchmarks.readme_table --report=chorales:demo/report --report=recordings:run/report

Prints Markdown: a row a tier of each report, then a sentence with its bits per second and Fréchet distance.
"""

import pathlib
import sys
from typing import Any

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.runtime import files

_REPORTS = flags.DEFINE_multi_string("report", None, "NAME:FOLDER, as evaluate --out wrote it.", required=True)
HEADS = ("data", "tier", "spectral convergence, dB", "SI-SDR, dB", "codes in use")
HEADS += ("nats per code: prior", "bigram", "unigram")
ABSENT = "-"


def main() -> None:
    """Flags -> Markdown."""
    reports = [one.partition(":")[::2] for one in _REPORTS.value]
    for given, (name, folder) in zip(_REPORTS.value, reports, strict=True):
        config.require(bool(name and folder), f"--report={given}: write NAME:FOLDER, such as chorales:demo/report")
    measured = {
        name: files.read_json(pathlib.Path(folder) / "metrics.json", "pass the --out of evaluate")
        for name, folder in reports
    }
    print("\n".join(["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]))
    for name, metrics in measured.items():
        for stream in streams(metrics):
            print(row(name, stream, metrics))
    print()
    for name, metrics in measured.items():
        print(sentence(name, metrics))
        if "score" in metrics:
            print(of_scores(metrics))


def streams(metrics: dict[str, Any]) -> list[str]:
    """Names of the streams that anything was measured of, in the report's order."""
    parts = (metrics.get(part, {}) for part in ("reconstruction", "codebook", "prior"))
    return list(dict.fromkeys(name for part in parts for name, found in part.items() if isinstance(found, dict)))


def row(name: str, tier: str, metrics: dict[str, Any]) -> str:
    """The stream's row."""
    cells = [
        _number(metrics, "reconstruction", tier, "spectral_convergence_db", form=".1f"),
        _number(metrics, "reconstruction", tier, "si_sdr_db", form=".1f"),
        _number(metrics, "codebook", tier, "usage", form=".0%"),
        *(_number(metrics, "prior", tier, key, form=".2f") for key in ("nats_per_code", "bigram_nats", "unigram_nats")),
    ]
    return f"| {' | '.join([name, tier, *cells])} |"


def sentence(name: str, metrics: dict[str, Any]) -> str:
    """Bits per second of all priors together, and the Fréchet distance beside its floor."""
    fad = {key: _number(metrics, "fad", key, form=",.0f") for key in ("value", "floor", "num_frames", "dimensions")}
    doubt = "" if metrics.get("fad", {}).get("reliable", True) else f", too few for its {fad['dimensions']} dimensions"
    bits = _number(metrics, "prior", "bits_per_second", form=",.0f")
    distance = f"{fad['value']}, as many real frames {fad['floor']} ({fad['num_frames']} frames{doubt})"
    return f"{name}: {bits} bits per second of audio; Fréchet distance {distance}."


def of_scores(metrics: dict[str, Any]) -> str:
    """How well the composer knows held-out scores, and whether samples play theirs."""
    keys = ("nats_per_note", "bigram_nats_per_note", "note_f1", "note_f1_low", "note_f1_high", "note_f1_lowest")
    keys += ("note_f1_ceiling", "note_f1_shuffled")
    found = {key: _number(metrics, "score", key, form=".2f") for key in keys}
    interval = f"({found['note_f1_low']} to {found['note_f1_high']}, the worst {found['note_f1_lowest']})"
    return (
        f"Composer: {found['nats_per_note']} nats a note, a bigram model {found['bigram_nats_per_note']}. Note F1 of "
        f"samples against their scores: {found['note_f1']} {interval}; of held-out recordings "
        f"{found['note_f1_ceiling']}, of shuffled scores {found['note_f1_shuffled']}."
    )


def _number(metrics: dict[str, Any], *path: str, form: str) -> str:
    """The figure at this path, rounded; ABSENT where it was not measured."""
    value: Any = metrics
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return ABSENT if value is None else format(value, form)


if __name__ == "__main__":
    cli.run(main)
