"""The published grid of Bach chorales (Boulanger-Lewandowski's split): a JSON file of sixteenths in four voices."""

import numpy as np

from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import UserError

SPLITS = ("train", "valid", "test")
VOICES = 4
MAX_PITCH = 127


def read(path: files.Path) -> dict[str, list[np.ndarray]]:
    """Sounding pitches of every piece, by split.

    Args:
      path: of jsb_chorales_16th.json: {"train": [piece, ...], "valid": ..., "test": ...}, a piece a list of sixteenths,
        a sixteenth four MIDI pitches from soprano to bass, -1 where a voice is silent.

    Returns:
      int16 [T, 4] a piece: what `GridTokens.from_pitches` takes.

    Raises:
      NotFoundError: there is no such file.
      UserError: it is damaged, or holds something else.
    """
    content = files.read_json(path, "pass the JSON file of chorales on a 16th grid")
    missing = [split for split in SPLITS if not isinstance(content.get(split), list)]
    if missing:
        raise UserError(f"{path} has no list of pieces named {missing[0]}: it is no grid of chorales")
    return {
        split: [_piece(piece, f"{path}, {split}, piece {number}") for number, piece in enumerate(content[split])]
        for split in SPLITS
    }


def _piece(rows: object, where: str) -> np.ndarray:
    try:
        pitches = np.array(rows)
    except (ValueError, OverflowError):  # ragged, or an integer beyond 64 bits
        pitches = np.zeros(0)
    if pitches.ndim != 2 or pitches.shape[1] != VOICES or pitches.dtype.kind not in "if":
        raise UserError(f"{where} must be a list of sixteenths, each a list of {VOICES} pitches")
    if not ((pitches == np.round(pitches)) & (pitches >= -1) & (pitches <= MAX_PITCH)).all():
        raise UserError(f"{where} has a pitch that is no integer from -1 (silent) to {MAX_PITCH}")
    return pitches.astype(np.int16)
