"""Names of artists and genres <-> the integers by which a prior knows them. Integer 0 is always "unknown"."""

import csv
import difflib
from collections.abc import Iterable

import numpy as np

from musicgen_jax import config
from musicgen_jax.runtime.errors import UserError

KINDS = ("genre", "artist")
MAX_LISTED = 40  # names in a message


def vocabulary(names: list[str]) -> tuple[str, ...]:
    """Sorted distinct names behind "unknown", which comes first."""
    return (config.UNKNOWN_LABEL, *sorted(set(names) - {config.UNKNOWN_LABEL}))


def encode(name: str, names: tuple[str, ...]) -> np.int32:
    """Index of `name`; 0 where the vocabulary lacks it (an artist that only the validation split has)."""
    return np.int32(names.index(name) if name in names else 0)


def require_known(kind: str, name: str, names: tuple[str, ...]) -> None:
    """Raises UserError, with the names that are most like it, unless `name` is in the vocabulary or empty."""
    if not name or name in names:
        return
    folded = {known.casefold(): known for known in names}
    nearest = [folded[one] for one in difflib.get_close_matches(name.casefold(), folded)]
    hint = f"did you mean {_listed(nearest)}? " if nearest else ""
    there = f"{len(names)} others" if len(names) > MAX_LISTED else _listed(names)
    raise UserError(f"`{kind}`={name}: unknown {kind}; {hint}the prior was trained with {there}")


def split(text: str, known: Iterable[str]) -> list[str]:
    """The names in a flag's text: all of it where it is one of the `known`, else what stands between commas.

    A name with a comma in it may stand in double quotes: '"Rock, Pop",Jazz'.
    """
    if text in known:
        return [text]
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' if "," in name else name for name in names)
