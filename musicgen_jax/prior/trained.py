"""A trained prior as sampling and evaluation take it."""

import dataclasses

from musicgen_jax import config, modules


@dataclasses.dataclass(frozen=True)
class TrainedPrior:
    """A prior and its weights, on one device.

    Attributes:
      config: of the model.
      functional: binds weights to the module.
      weights: (params, buffers).
      codes_path: the code shards it was trained on.
    """

    config: config.PriorConfig
    functional: modules.Functional
    weights: tuple[modules.Tree, modules.Tree]
    codes_path: str
