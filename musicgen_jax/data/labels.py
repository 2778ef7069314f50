"""The values of labels <-> the integers by which a model knows them. Integer 0 is always "unknown"."""

import collections
import csv
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.runtime.errors import UserError

FIRST = ("genre", "artist")  # of a model's labels, in this order: so they have been from the beginning
MAX_LISTED = 40  # names in a message

Labels = Mapping[str, str]  # label -> value


def resolve(model: config.PriorConfig, tracks: Sequence[Labels], directory: str) -> dict[str, Any]:
    """The fields `labels` and `vocabularies` of a model that is trained on these tracks of the data in `directory`.

    Raises:
      UserError: the config names a label that none of the tracks has.
    """
    there = sorted(
        {name for labels in tracks for name in labels}, key=lambda name: (name not in FIRST, name != FIRST[0], name)
    )
    names = model.named_labels or tuple(there)
    for name in names:
        rule = f"it has {', '.join(there)}" if there else "it has none"
        config.require(
            name in there, f"--config.model.labels={','.join(names)}: {directory} has no label {name}; {rule}"
        )
    values = {name: [labels.get(name, config.UNKNOWN_LABEL) for labels in tracks] for name in names}
    known = {name: vocabulary(values[name], model.label_values, model.label_tracks) for name in names}
    return {"labels": names, "vocabularies": known}


def extended(
    model: config.PriorConfig, tracks: Sequence[Labels], grows: bool
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The vocabularies of a trained model that is to learn these tracks, and sentences that say what is new in them.

    Args:
      model: whose labels stay the same, with the numbers of the values that it knows.
      tracks: of training.
      grows: whether values that it does not know get the next numbers; else they are unknown to it.
    """
    found, said = dict(model.vocabularies), []
    for name in sorted({name for labels in tracks for name in labels}):
        known = model.vocabularies.get(name, ())
        new = [value for value in vocabulary(labels.get(name, "") for labels in tracks) if value not in (*known, "")]
        if not new:
            continue
        listed = f"{name} {_listed(new[:MAX_LISTED])}"
        if name not in model.labels:
            said.append(f"the model is told no {name}, which the data have")
        elif grows:
            found[name] = (*known, *new)
            said.append(f"{listed}: new to the model, which learns it")
        else:
            said.append(f'{listed}: new to the model, and "{config.UNKNOWN_LABEL}" to its adapters')
    return found, said


def vocabulary(values: Iterable[str], most: int = 0, least_tracks: int = 1) -> tuple[str, ...]:
    """The values that a model is to know, "unknown" first, the others sorted.

    Args:
      values: of the training tracks.
      most: so many of the most frequent ones; 0 is all. Of equally frequent ones the first in the alphabet.
      least_tracks: and of these only those that so many tracks have.
    """
    counts = collections.Counter(values)
    counts.pop(config.UNKNOWN_LABEL, None)
    frequent = sorted(counts, key=lambda value: (-counts[value], value))[: most or None]
    return (config.UNKNOWN_LABEL, *sorted(value for value in frequent if counts[value] >= least_tracks))


def encode(name: str, names: tuple[str, ...]) -> np.int32:
    """Index of `name`; 0 where the vocabulary lacks it (an artist that only the validation split has)."""
    return np.int32(names.index(name) if name in names else 0)


def encode_all(labels: Labels, model: config.PriorConfig) -> np.ndarray:
    """int32 [L]: of each of the model's labels the index of a track's value, 0 where the model does not know it."""
    indices = [encode(labels.get(name, ""), model.vocabularies.get(name, ())) for name in model.labels]
    return np.array(indices, np.int32)


def partly_told(example: dict[str, np.ndarray], share: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A training window whose labels, each by itself with the probability `share`, are unknown.

    So a model learns what unknown means where every track is labelled, and is asked with some labels and not others.
    """
    if not share:
        return example
    hidden = rng.random(len(example["labels"])) < share
    return example | {"labels": np.where(hidden, 0, example["labels"]).astype(np.int32)}


def require_all_known(labels: Labels, vocabularies: Mapping[str, tuple[str, ...]]) -> None:
    """Raises UserError for a label, or a value of one, that a model of these vocabularies does not know."""
    for name, value in labels.items():
        told = ", ".join(vocabularies) or "none"
        config.require(
            not value or name in vocabularies,
            f"{_said(name, value)}: the prior is told no {name}; the labels that it is told: {told}",
        )
        require_known(name, value, vocabularies.get(name, ()))


def _said(name: str, value: str) -> str:
    return f"`{name}`={value}" if name in FIRST else f"`labels`={name}:{value}"


def require_known(kind: str, name: str, names: tuple[str, ...]) -> None:
    """Raises UserError, with the names that are most like it, unless `name` is in the vocabulary or empty."""
    if not name or name in names:
        return
    folded = {known.casefold(): known for known in names}
    nearest = [folded[one] for one in difflib.get_close_matches(name.casefold(), folded)]
    hint = f"did you mean {_listed(nearest)}? " if nearest else ""
    there = f"{len(names)} others" if len(names) > MAX_LISTED else _listed(names)
    raise UserError(f"{_said(kind, name)}: unknown {kind}; {hint}the prior was trained with {there}")


def split(text: str, known: Iterable[str]) -> list[str]:
    """The names in a flag's text: all of it where it is one of the `known`, else what stands between commas.

    A name with a comma in it may stand in double quotes: '"Rock, Pop",Jazz'.
    """
    if text in known:
        return [text]
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' if "," in name else name for name in names)
