"""The codes of one tier from a diffusion model: all of them in a few parallel steps."""

from collections.abc import Sequence

import jax
import numpy as np

from musicgen_jax.data import labels
from musicgen_jax.priors import trained
from musicgen_jax.runtime import progress_report
from musicgen_jax.sampling import journals, performed, requests


class ParallelSampler:
    """Draws the codes of one stream like `tier_sampler.TierSampler`, but at all positions together.

    Attributes:
      codes: int32 [N, T, Q]; those at [0, done) are final.
      done: number of them.
    """

    def __init__(
        self,
        model: trained.TrainedPrior,
        request: requests.Request,
        known: np.ndarray,
        num_codes: int,
        *,
        scores: performed.Scores | None = None,
        journal: journals.Journal | None = None,
        devices: Sequence[jax.Device] = (),
        show_progress: bool = False,
    ):
        """Args:
        model: of the tier: a `diffusion.trained_diffusion.TrainedDiffusion`.
        request: what to sample.
        known: the prompt's codes, int32 [N, P, Q].
        num_codes: T.
        scores: what the samples perform.
        journal: keeps the finished tier, and gives back that of an interrupted run.
        devices: not looked at: all windows run where the model is.
        show_progress: a bar with the time left.
        """
        self._model, self._request, self._scores, self._journal = model, request, scores, journal
        shape = request.num_samples, num_codes, model.config.num_codebooks
        self.codes, self.done = np.zeros(shape, np.int32), known.shape[1]
        self.codes[:, : self.done] = known
        self._show_progress = show_progress

    @property
    def needs(self) -> int:
        """Codes of the tier above that the next step looks at: all there are."""
        upsampling = self._model.config.upsampling
        return -(-self.codes.shape[1] // upsampling) if upsampling else 0

    def advance(self, above: np.ndarray | None) -> None:
        """Samples the tier, given the tier above, int32 [N, T / upsampling, Q]."""
        tier, total = self._model.config.tier, (self.codes.shape[1] - self.done) * len(self.codes)
        sampled = self._journal.read(tier) if self._journal else None
        done = 0 if sampled is None else total
        with progress_report.Progress(
            f"sample {tier}", total, "codes", done=done, show=self._show_progress
        ) as progress:
            if sampled is None:
                sampled = self._sample(above, progress)[..., None]
                if self._journal:
                    self._journal.write(tier, sampled)
        # What an older version kept is [N, T].
        self.codes[...], self.done = sampled.reshape(self.codes.shape), self.codes.shape[1]

    def _sample(self, above: np.ndarray | None, progress: progress_report.Progress) -> np.ndarray:
        request, model = self._request, self._model.config
        num_samples, num_codes, _ = self.codes.shape
        places = np.broadcast_to(np.arange(num_codes), (num_samples, num_codes))
        tracks = self._model.tracks(
            codes=self.codes[..., 0],  # a diffusion model is of one codebook
            known=places < self.done,
            above=None if above is None else above[..., 0],
            labels=np.stack([labels.encode_all(request.labels_of(row), model) for row in range(num_samples)]),
            length=round(request.told_seconds(self._model) * model.codes_per_second),
            scores=self._scores,
            lyrics=request.words_of(0).sung(),
        )
        return self._model.sample_codes(
            tracks,
            request.keys(f"sample/{model.tier}"),
            request.settings.arrays(model.tier, places, num_codes),
            request.num_steps(self._model.distilled_steps),
            batch_size=request.num_together(True),
            progress=progress.update,
        )
