"""What a published prior may be told: labels, times, codes and characters that its tables have a row for."""

from collections.abc import Mapping

import jax
import numpy as np

from musicgen_jax import config


def check(model: config.JukeboxPriorConfig, batch: Mapping[str, jax.typing.ArrayLike]) -> None:
    """Raises UserError where a value of a batch is out of range: a look-up would take the nearest row without a word.

    Arrays of a program that is being traced have no values yet: check such a batch before the call. Labels and times
    that are out of range there give NaN.

    Args:
      model: of the prior.
      batch: arrays of `JukeboxPrior.condition`, and codes; those that the model does not read are not looked at.
    """
    known = {name: np.asarray(x) for name, x in batch.items() if not isinstance(x, jax.core.Tracer)}
    ranges = {"artist": (0, model.num_artists), "genres": (-1, model.num_genres), "codes": (0, model.num_codes)}
    if model.upsampling:
        ranges["above"] = 0, model.num_codes
    else:
        seconds = model.min_seconds, model.max_seconds
        ranges["total"] = tuple(round(value * model.sample_rate) for value in seconds)
    if model.lyrics != "none":
        ranges["lyrics"] = 0, model.lyric_vocabulary
    for name, (low, high) in ranges.items():
        if name in known:
            _require(name, known[name], (low <= known[name]) & (known[name] < high), f"from {low} to {high - 1}")
    if model.upsampling or not {"total", "offset", "length"} <= known.keys():
        return
    offset, total, longest = known["offset"], known["total"], ranges["total"][1]
    _require("offset", offset, (offset >= 0) & (offset < total), "a sample of the track, from 0 to total - 1")
    inside = (known["length"] > 0) & (offset + known["length"] <= longest)
    _require("length", known["length"], inside, f"at least 1, and end at {longest} samples of the track or before")


def shapes(model: config.JukeboxPriorConfig, size: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a batch of so many windows."""
    found = {"codes": (size, model.context, 1), "artist": (size,), "genres": (size, model.max_genres)}
    if model.upsampling:
        found["above"] = size, model.context // model.upsampling, 1
    else:
        found |= dict.fromkeys(("total", "offset", "length"), (size,))
    if model.lyrics != "none":
        found["lyrics"] = size, model.lyric_tokens
    return found


def _require(name: str, values: np.ndarray, fits: np.ndarray, rule: str) -> None:
    if not np.all(fits):
        wrong = np.broadcast_to(values, fits.shape)[~fits].ravel()[0]
        config.require(False, f"batch[{name!r}] holds {wrong}: must be {rule}")
