"""A trained diffusion model as sampling takes it."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.diffusion.sampler import Tracks, sample_codes
from musicgen_jax.nn import modules
from musicgen_jax.priors import trained
from musicgen_jax.sampling import logit_filters


@dataclasses.dataclass(frozen=True)
class TrainedDiffusion(trained.TrainedPrior):
    """A denoiser and its weights, on one device; what a `TrainedPrior` has, and how its codes are sampled.

    Attributes:
      distilled_steps: steps of the sampler that it was distilled for; 0 for any.
    """

    config: config.DiffusionConfig
    distilled_steps: int = 0

    sampler, scores_codes, windowed = "diffusion", False, False
    tracks = Tracks  # what `sample_codes` takes

    @classmethod
    def of_run(
        cls, run: config.DiffusionTraining, functional: modules.Functional, weights: tuple[modules.Tree, modules.Tree]
    ) -> "TrainedDiffusion":
        """The trained model of a run, from its config, module and weights."""
        return cls(run.model, functional, weights, run.data.path, run.distillation.steps)

    def require_guidance(self, guidance: float, conditions: Sequence[str]) -> None:
        """Raises UserError where guidance is on: its sampler has none."""
        rule = f"the diffusion model of the {self.config.tier} tier has none; use 1"
        config.require(guidance == 1, f"`guidance`={guidance}: {rule}")

    def fits_steps(self, steps: int | None) -> bool:
        """Whether it was distilled for so many steps a window, or they are left to it (None)."""
        return steps in (None, self.distilled_steps)

    def sample_codes(
        self,
        tracks: Tracks,
        keys: jax.Array,
        settings: logit_filters.Settings,
        steps: int,
        **options: Callable[[int], object] | int | str,
    ) -> np.ndarray:
        """Codes int32 [N, T] of whole tracks in `steps` calls of the network a window; see `sampler.sample_codes`."""
        return sample_codes(self, tracks, keys, settings, steps, **options)
