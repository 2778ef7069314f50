"""A trained prior as sampling and evaluation take it."""

import dataclasses
from typing import ClassVar

from musicgen_jax import config
from musicgen_jax.nn import modules


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

    sampler: ClassVar[str] = "autoregressive"  # of `config.SAMPLERS`: how its codes are drawn

    @classmethod
    def of_run(
        cls, run: config.PriorTraining, functional: modules.Functional, weights: tuple[modules.Tree, modules.Tree]
    ) -> "TrainedPrior":
        """What a run has trained."""
        return cls(run.model, functional, weights, run.data.path)

    def require_tokenizer(self, fingerprint: str) -> None:
        """Raises UserError unless the prior was trained on codes of the tokenizer with this fingerprint."""
        config.require(
            self.config.vqvae == fingerprint,
            f"--{self.config.tier}: this prior was trained on codes of VQ-VAE {self.config.vqvae}, but --vqvae is "
            f"{fingerprint}: pass the VQ-VAE that extracted its codes",
        )
