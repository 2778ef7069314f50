"""The codes of all streams, coarse to fine, each given the one above, sampled as far as they are asked for."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from musicgen_jax.codes.layout import Layout
from musicgen_jax.priors import trained
from musicgen_jax.sampling import journals, parallel_sampler, performed, prompts, requests, tier_sampler

Codes = dict[str, np.ndarray]
Sampler = tier_sampler.TierSampler | parallel_sampler.ParallelSampler
# What draws the codes of a stream, by `TrainedPrior.sampler`.
SAMPLERS: dict[str, type[Sampler]] = {
    "autoregressive": tier_sampler.TierSampler,
    "diffusion": parallel_sampler.ParallelSampler,
}


class Hierarchy:
    """The codes of a request. Which tier is sampled first, and how far, does not change them.

    Attributes:
      codes: {stream: int32 [N, T, Q]}, those that the prompt gives and those that are sampled, coarse to fine.
    """

    def __init__(
        self,
        layout: Layout,
        priors: Mapping[str, trained.TrainedPrior],
        request: requests.Request,
        prompt: prompts.Prompt | None = None,
        *,
        scores: performed.Scores | None = None,
        journal: journals.Journal | None = None,
        devices: Sequence[jax.Device] | None = None,
        show_progress: bool = True,
    ):
        """Args:
        layout: of the tokenizer.
        priors: by tier.
        request: valid for these models (`Request.validate`).
        prompt: what the music starts from; None with mode ancestral.
        scores: what the samples perform; None with models that are told no score, or know how it is to be told none.
        journal: keeps finished windows on disk.
        devices: that work on parallel windows; None takes all of this process.
        show_progress: a bar a tier.
        """
        sampled = requests.sampled_tiers(layout, request.mode, priors)
        given = request.given_tiers(layout, sampled)
        self._layout = layout
        self.codes: Codes = {}
        self._samplers: dict[str, Sampler] = {}
        for tier in layout.names:
            num_codes = request.num_frames(layout, tier)
            known = np.zeros((request.num_samples, 0, layout.stream(tier).num_codebooks), np.int32)
            if tier in given:
                known = prompt.rows(tier, request.num_samples)[:, :num_codes]
            if tier in sampled:
                self._samplers[tier] = SAMPLERS[priors[tier].sampler](
                    priors[tier],
                    request,
                    known,
                    num_codes,
                    scores=scores,
                    journal=journal,
                    devices=jax.local_devices() if devices is None else devices,
                    show_progress=show_progress,
                )
                self.codes[tier] = self._samplers[tier].codes
            elif tier in given:
                self.codes[tier] = known

    @property
    def finest(self) -> str:
        """The tier that the audio is decoded from."""
        return list(self.codes)[-1]

    def done(self, tier: str) -> int:
        """How many codes of a tier are final."""
        return self._samplers[tier].done if tier in self._samplers else self.codes[tier].shape[1]

    def require(self, tier: str, stop: int) -> None:
        """Samples until the codes [0, stop) of a tier are final; of the tiers above, no more than these look at."""
        while self.done(tier) < min(stop, self.codes[tier].shape[1]):
            sampler, above = self._samplers[tier], self._layout.stream(tier).above
            if above:
                self.require(above, sampler.needs)
            sampler.advance(self.codes[above] if above else None)

    def complete(self) -> Codes:
        """All codes, one tier after the other."""
        for tier, codes in self.codes.items():
            self.require(tier, codes.shape[1])
        return self.codes


def sample_codes(
    layout: Layout,
    priors: Mapping[str, trained.TrainedPrior],
    request: requests.Request,
    prompt: prompts.Prompt | None = None,
    scores: performed.Scores | None = None,
) -> Codes:
    """Codes of every tier that is given or sampled: {stream: int32 [num_samples, T, Q]}."""
    return Hierarchy(layout, priors, request, prompt, scores=scores).complete()
