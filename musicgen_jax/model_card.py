"""model_card.md of a workdir: what the model is, what it was trained on and under which licence, and its figures."""

import os
import pathlib
from typing import Any

from musicgen_jax import kinds
from musicgen_jax.data import licences
from musicgen_jax.runtime import files, records
from musicgen_jax.training import metrics

NAME = "model_card.md"
UNKNOWN = "The data do not say under which licence they are."
BINDS = (
    "Whether such a clause binds a model that was trained on the data, and what it makes, is for its user to find out; "
    "who has no other permission keeps to it."
)


def write(workdir: str | os.PathLike[str], note: str = "") -> None:
    """Writes the card of the model in a folder, or writes it anew; where there is no model, nothing.

    Args:
      workdir: of train_vqvae, train_prior, compress or convert.
      note: what else there is to know of its licence, in place of that of its data.

    Raises:
      UserError: config.json or metrics.jsonl is damaged.
    """
    folder = pathlib.Path(workdir)
    kind = kinds.in_folder(folder)
    if kind is None:
        return
    path = folder / "config.json"
    run = files.read_json(path)
    data = records.check(dict[str, Any], run.get("data", {}), f"{path}: data")
    known = records.check(dict[str, Any], data.get("licence", {}), f"{path}: data.licence")
    parts = [f"# {kind.name[0].upper()}{kind.name[1:]}", _origin(run, data)]
    parts += ["## Licence", note] if note else ["## Licence of the training data", *_licence(known)]
    if figures := _figures(folder):
        parts += ["## Figures", "Those of metrics.jsonl that were measured last.", figures]
    files.write_text(folder / NAME, "\n\n".join(parts) + "\n")


def _origin(run: dict[str, Any], data: dict[str, Any]) -> str:
    model = run.get("model")
    tier = model.get("tier", "") if isinstance(model, dict) else ""
    of = f" of the stream `{tier}`" if tier else ""
    place = pathlib.Path(str(data.get("path", ""))).name
    trained = f", trained on the data in `{place}`" if place else ""
    return f"A model{of} that musicgen_jax wrote{trained}.{_began_from(run)} config.json says all of it."


def _began_from(run: dict[str, Any]) -> str:
    init, lora = (part if isinstance(part := run.get(name), dict) else {} for name in ("init", "lora"))
    if not init.get("fingerprint"):
        return ""
    place = f"the model in `{pathlib.Path(str(init.get('path', ''))).name}` (weights {init['fingerprint']})"
    if lora.get("rank"):
        return f" It is adapters of rank {lora['rank']} alone, of {place}, without which they are nothing."
    return f" It began from {place}."


def _licence(known: dict[str, Any]) -> list[str]:
    lines = licences.messages(known)
    if not lines:
        return [UNKNOWN]
    binds = [BINDS] if any(clause in known for clause in licences.CLAUSES) else []
    return ["\n".join(f"* {line}" for line in lines), *binds]


def _figures(folder: pathlib.Path) -> str:
    """A table of the last value of each figure, those of the validation split where there are some."""
    latest = {}
    for line in metrics.read(folder / "metrics.jsonl"):
        latest |= {name: (value, line["step"]) for name, value in line.items() if name != "step" and value is not None}
    judged = {name: found for name, found in latest.items() if name.startswith("eval/")} or latest
    rows = [f"| {name} | {value:.6g} | {step} |" for name, (value, step) in sorted(judged.items())]
    return "\n".join(["| figure | value | step |", "|---|---|---|", *rows]) if rows else ""


def of_data(directory: str) -> dict[str, Any]:
    """What metadata.json of a data set, of audio, scores or codes, says of its licence; {} where it says nothing.

    Raises:
      NotFoundError: there is no data set.
    """
    path = pathlib.Path(directory) / "metadata.json"
    return records.check(dict[str, Any], files.read_json(path).get("licence", {}), f"{path}: licence")
