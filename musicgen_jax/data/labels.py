"""Artist and genre names <-> integers. Integer 0 is always "unknown"."""

import numpy as np

from musicgen_jax import config
from musicgen_jax.errors import UserError

KINDS = ("genre", "artist")


def vocabulary(names: list[str]) -> tuple[str, ...]:
    """Sorted distinct names behind "unknown", which comes first."""
    return (config.UNKNOWN_LABEL, *sorted(set(names) - {config.UNKNOWN_LABEL}))


def encode(name: str, names: tuple[str, ...]) -> np.int32:
    """Index of `name`; 0 where the vocabulary lacks it (an artist that only the validation split has)."""
    return np.int32(names.index(name) if name in names else 0)


def require_known(kind: str, name: str, names: tuple[str, ...]) -> None:
    """Raises UserError, listing the known names, unless `name` is in the vocabulary or empty."""
    if name and name not in names:
        raise UserError(f"--{kind}={name}: unknown {kind}; the prior was trained with {', '.join(names)}")
