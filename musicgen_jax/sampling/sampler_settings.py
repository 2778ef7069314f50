"""How codes are drawn: the options of sampling that a sampler reads for every code, for all streams or for each."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.sampling import logit_filters, options

_Fields = dataclasses.make_dataclass("_Fields", options.fields("settings"), frozen=True)


class SamplingSettings(_Fields):
    """Temperature, top_p, top_k and guidance: `options.OPTIONS` says of each what it is, by default and at most.

    Both filters apply where both are on; the distribution after them is renormalised. Each field is one value for all
    streams, or a mapping from stream to value; a stream that it leaves out has the default.
    """

    def of(self, name: str, stream: str) -> Any:
        """Value of a field for one stream."""
        return options.of_stream(getattr(self, name), stream, getattr(SamplingSettings(), name))

    def arrays(self, stream: str, places: np.ndarray, num_codes: int) -> logit_filters.Settings:
        """The settings of every code of some windows, as arrays for the device.

        Args:
          stream: whose values.
          places: int [B, T], position of every frame in its track.
          num_codes: frames of the track, over which the temperature moves.
        """
        first, last = np.broadcast_to(np.float64(self.of("temperature", stream)), 2)
        share = np.clip(places / max(num_codes - 1, 1), 0, 1)
        rows, largest = len(places), np.finfo(np.float32).max
        # More than the arrays can hold is as good as their largest number.
        return logit_filters.Settings(
            temperature=np.minimum(first + (last - first) * share, largest).astype(np.float32),
            top_p=np.full(rows, self.of("top_p", stream), np.float32),
            top_k=np.full(rows, min(self.of("top_k", stream), np.iinfo(np.int32).max), np.int32),
            guidance=np.full(rows, min(self.of("guidance", stream), largest), np.float32),
        )


def require_sampled(name: str, value: options.ByStream, streams: Sequence[str]) -> None:
    """Raises UserError where a mapping names a stream that is not sampled."""
    unused = [one for one in value if one not in streams] if isinstance(value, Mapping) else []
    rule = f"`{name}` has a value for {', '.join(unused)}, but the tiers sampled are {', '.join(streams)}"
    config.require(not unused, rule)
