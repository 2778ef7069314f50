"""How codes are drawn, as a person says it: one value for all tiers, or one for each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.sampling import logit_filters

Value = float | tuple[float, float]  # a number, or its course from the music's beginning to its end
ByTier = Value | Mapping[str, Value]


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """How codes are drawn. Both filters apply where both are on; the distribution after them is renormalised.

    Each field is one value for all tiers, or a mapping from tier to value; a tier that it leaves out has the default.

    Attributes:
      temperature: logits are divided by it; must be positive. A pair (first, last) moves from one to the other in equal
        steps over the length of the result.
      top_p: nucleus (Holtzman et al. 2020): the fewest codes whose probabilities reach this sum; 1 turns it off.
      top_k: the k most probable codes; 0 turns it off.
      guidance: how much more than the data the labels count (classifier-free guidance, Ho and Salimans 2022); 1 is off.
    """

    temperature: ByTier = 1.0
    top_p: ByTier = 0.9
    top_k: ByTier = 0
    guidance: ByTier = 1.0

    def of(self, name: str, tier: str) -> Any:
        """Value of a field for one tier."""
        default = next(field.default for field in dataclasses.fields(self) if field.name == name)
        return for_tier(getattr(self, name), tier, default)

    def validate(self) -> None:
        """Raises UserError where a value is out of range."""
        for temperature in values(self.temperature):
            pair = np.shape(temperature) in ((), (2,))
            config.require(pair, f"`temperature`={temperature}: must be one number, or two: from the first to the last")
            for number in np.ravel(temperature):
                config.require(0 < number < np.inf, f"`temperature`={number}: must be greater than 0, and finite")
        for name in ("top_p", "top_k", "guidance"):
            for value in values(getattr(self, name)):
                require_number(name, value)
        for top_p in values(self.top_p):
            config.require(0 < top_p <= 1, f"`top_p`={top_p}: must be in (0, 1]; 1 keeps all codes")
        for top_k in values(self.top_k):
            whole = top_k >= 0 and float(top_k).is_integer()
            config.require(whole, f"`top_k`={top_k}: must be 0 (off) or a whole number of codes")
        for guidance in values(self.guidance):
            config.require(0 <= guidance < np.inf, f"`guidance`={guidance}: must be 0 or more; 1 is off")

    def arrays(self, tier: str, places: np.ndarray, num_codes: int) -> logit_filters.Settings:
        """What the sampler takes for rows of windows.

        Args:
          tier: whose values.
          places: int [B, T], position of every code in its track.
          num_codes: length of the track, over which the temperature moves.
        """
        first, last = np.broadcast_to(np.float64(self.of("temperature", tier)), 2)
        share = np.clip(places / max(num_codes - 1, 1), 0, 1)
        rows, largest = len(places), np.finfo(np.float32).max
        # More than the arrays can hold is as good as their largest number.
        return logit_filters.Settings(
            temperature=np.minimum(first + (last - first) * share, largest).astype(np.float32),
            top_p=np.full(rows, self.of("top_p", tier), np.float32),
            top_k=np.full(rows, min(self.of("top_k", tier), np.iinfo(np.int32).max), np.int32),
            guidance=np.full(rows, min(self.of("guidance", tier), largest), np.float32),
        )


def for_tier(value: ByTier, tier: str, default: Value) -> Any:
    """The tier's own value, or the one for all."""
    return value.get(tier, default) if isinstance(value, Mapping) else value


def values(value: ByTier) -> list[Value]:
    """The one value for all, or those of the tiers."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


def require_number(name: str, value: Any) -> None:
    """Raises UserError for a course where only a number makes sense."""
    config.require(np.ndim(value) == 0, f"`{name}`={value}: only the temperature changes over the music")


def require_sampled(name: str, value: ByTier, tiers: list[str]) -> None:
    """Raises UserError where a mapping names a tier that is not sampled."""
    unused = [tier for tier in value if tier not in tiers] if isinstance(value, Mapping) else []
    config.require(
        not unused, f"`{name}` has a value for {', '.join(unused)}, but the tiers sampled are {', '.join(tiers)}"
    )


def parse(name: str, text: str) -> ByTier:
    """A flag's text -> value: "0.9" for all tiers, "0.9~1.1" for a course, "top:0.9,bottom:0.9~1.1" by tier.

    Raises:
      UserError: it is none of these.
    """
    if ":" not in text:
        return _value(name, text, text)
    pairs = [part.strip().partition(":") for part in text.split(",")]
    tiers = [tier for tier, _, _ in pairs]
    fits = all(tiers) and len(set(tiers)) == len(tiers)
    config.require(fits, f"`{name}`={text}: name each tier once: `{name}`=top:1,bottom:1")
    return {tier: _value(name, text, value) for tier, _, value in pairs}


def _value(name: str, text: str, value: str) -> Value:
    try:
        numbers = tuple(float(number) for number in value.split("~"))
    except ValueError:
        numbers = ()
    rule = f"`{name}`={text}: write a number, FROM~TO, or either by tier: `{name}`=top:1,middle:1,bottom:1"
    config.require(len(numbers) in (1, 2) and not np.isnan(numbers).any(), rule)
    whole = tuple(int(number) if name == "top_k" and number.is_integer() else number for number in numbers)
    return whole[0] if len(whole) == 1 else whole
