"""A trained diffusion model as sampling takes it."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.diffusion import sampler
from musicgen_jax.priors import trained


@dataclasses.dataclass(frozen=True)
class TrainedDiffusion(trained.TrainedPrior):
    """A denoiser and its weights, on one device; what a `TrainedPrior` has, and how its codes are sampled.

    Attributes:
      distilled_steps: steps of the sampler that it was distilled for; 0 for any.
    """

    config: config.DiffusionConfig
    distilled_steps: int = 0

    kind = config.DIFFUSION
    tracks = sampler.Tracks  # what `sample_codes` takes

    def sample_codes(
        self,
        tracks: sampler.Tracks,
        keys: jax.Array,
        settings: "sampler.logit_filters.Settings",
        steps: int,
        **options: Callable[[int], object] | int | str,
    ) -> np.ndarray:
        """Codes int32 [N, T] of whole tracks in `steps` calls of the network a window; see `sampler.sample_codes`."""
        return sampler.sample_codes(self, tracks, keys, settings, steps, **options)
