"""The codes of one tier, sampled window by window."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.priors import trained
from musicgen_jax.runtime import progress_report
from musicgen_jax.sampling import decode, journals, performed, requests, windows
from musicgen_jax.sharding import meshes

Job = tuple[int, windows.Window]  # number of the sample, and which stretch of it
# (rows int [B], which samples; start int32 [B], where their windows begin) -> arrays [B, ...] of these windows.
Beside = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


class TierSampler:
    """Draws one tier of all samples, in the order of time.

    Attributes:
      codes: int32 [N, T, Q]; those at [0, done) are final.
      done: number of these frames.
    """

    def __init__(
        self,
        prior: trained.TrainedPrior,
        request: requests.Request,
        known: np.ndarray,
        num_codes: int,
        *,
        stop: int | None = None,
        scores: performed.Scores | None = None,
        beside: Beside | None = None,
        journal: journals.Journal | None = None,
        devices: Sequence[jax.Device] = (),
        show_progress: bool = False,
    ):
        """Args:
        prior: of the tier.
        request: what to sample.
        known: the prompt's codes, int32 [N, P, Q].
        num_codes: T.
        stop: how many are drawn, the known ones included; by default all.
        scores: what the samples perform.
        beside: gives further arrays that the prior's conditions read, or others in place of `window_batch`'s.
        journal: keeps every finished window, and gives back those of an interrupted run.
        devices: which divide a batch of parallel windows among them; none are the prior's own.
        show_progress: a bar with the time left.
        """
        self._prior, self._request, self._scores, self._journal = prior, request, scores, journal
        self._beside = beside
        shape = request.num_samples, num_codes, prior.config.num_codebooks
        self.codes, self.done = np.zeros(shape, np.int32), known.shape[1]
        self.codes[:, : self.done] = known
        model = prior.config
        hop_fraction = request.hop_fraction_of(model.tier)
        plan = windows.plan(stop or num_codes, model.context, hop_fraction, model.multiple, self.done)
        parallel = request.parallel_windows and model.upsampling > 0
        self._plan = windows.independent(plan, self.done) if parallel else plan
        size = request.num_together(parallel, max(len(devices), 1))
        together = max(size // request.num_samples, 1) if parallel else 1
        self._groups = [self._plan[first : first + together] for first in range(0, len(self._plan), together)]
        self._batch_size = min(size, request.num_samples * len(self._groups[0]))
        self._weights, self._sharding = prior.weights, None
        if parallel and len(devices) > 1:
            mesh = meshes.make_mesh(config.MeshConfig(), devices)
            self._batch_size = -(-self._batch_size // len(devices)) * len(devices)
            self._sharding = meshes.batch_sharding(mesh)
            self._weights = jax.device_put(prior.weights, jax.sharding.NamedSharding(mesh, jax.P()))
        self._sample_window = decode.make_sample_window(prior.functional, request.cache_dtype, request.guide_by)
        self._keys = request.keys(f"sample/{model.tier}")
        self._progress: progress_report.Progress | None = None
        self._show_progress = show_progress

    @property
    def needs(self) -> int:
        """Codes of the tier above that the next windows look at; it may be more than there are."""
        upsampling = self._prior.config.upsampling
        return (self._groups[0][-1].start + self._prior.config.context) // upsampling if upsampling else 0

    def advance(self, above: np.ndarray | None) -> None:
        """Samples the next window of every sample, or the next windows that do not wait for each other.

        Args:
          above: codes of the stream above, int32 [N, T / upsampling, Q], the first `needs` of them final.
        """
        group = self._groups.pop(0)
        jobs = [(row, window) for window in group for row in range(self._request.num_samples)]
        for first in range(0, len(jobs), self._batch_size):
            self._run(jobs[first : first + self._batch_size], above)
        self.done = group[-1].kept_in_track.stop
        if self._progress is not None and not self._groups:
            self._progress.close()

    def _run(self, jobs: list[Job], above: np.ndarray | None) -> None:
        """Samples those of these windows that the journal does not have, as one batch."""
        names = {(row, window): f"{self._prior.config.tier}-{window.start:09d}-{row:05d}" for row, window in jobs}
        found = {job: self._journal.read(name) for job, name in names.items()} if self._journal else {}
        missing = [job for job in jobs if found.get(job) is None]
        self._show([job for job in jobs if found.get(job) is not None], restored=True)
        for job, codes in zip(missing, self._sample(missing, above) if missing else (), strict=True):
            found[job] = codes
            if self._journal:
                self._journal.write(names[job], codes)
        for row, window in jobs:
            # Windows that an older version kept are [T].
            codes = found[row, window].reshape(-1, self.codes.shape[2])
            self.codes[row, window.kept_in_track] = codes[window.kept]
        self._show(missing, restored=False)

    def _sample(self, jobs: list[Job], above: np.ndarray | None) -> np.ndarray:
        """Draws the codes of these windows on the device: int32 [len(jobs), context, Q]."""
        # One shape, compiled once: a batch that is not full repeats its last window.
        padded = jobs + jobs[-1:] * (self._batch_size - len(jobs))
        rows = np.array([row for row, _ in padded])
        known, stop, start = (
            np.array([getattr(window, name) for _, window in padded], np.int32) for name in ("known", "stop", "start")
        )
        model = self._prior.config
        places = start[:, None] + np.arange(model.context)
        settings = self._request.settings.arrays(model.tier, places, self.codes.shape[1])
        batch = window_batch(self._prior, self._request, self.codes, above, rows, start, self._scores)
        batch |= self._beside(rows, start) if self._beside else {}
        arguments = (batch, known, stop, self._keys[rows], start, settings)
        if self._sharding is not None:
            arguments = jax.device_put(arguments, self._sharding)
        return np.asarray(self._sample_window(self._weights, *arguments))[: len(jobs)]

    def _show(self, jobs: list[Job], restored: bool) -> None:
        if not self._show_progress or not jobs:
            return
        num_codebooks = self.codes.shape[2]
        if self._progress is None:
            num_frames = self._request.num_samples * sum(window.stop - window.known for window in self._plan)
            name = f"sample {self._prior.config.tier}"
            self._progress = progress_report.Progress(name, num_frames * num_codebooks, "codes")
        count = self._progress.skip if restored else self._progress.update
        count(num_codebooks * sum(window.stop - window.known for _, window in jobs))


def window_batch(
    prior: trained.TrainedPrior,
    request: requests.Request,
    codes: np.ndarray,
    above: np.ndarray | None,
    rows: np.ndarray,
    start: np.ndarray,
    scores: performed.Scores | None = None,
) -> dict[str, np.ndarray]:
    """Arrays of B windows, as the prior's conditions read them.

    Args:
      prior: of the stream.
      request: words and total length.
      codes: of the stream, int32 [N, T, Q].
      above: of the stream above, int32 [N, T / upsampling, Q].
      rows: int [B], which samples.
      start: int32 [B], where the windows begin.
      scores: what the samples perform.
    """
    model = prior.config
    length = round(request.told_seconds(prior) * model.codes_per_second)
    batch = {
        "codes": _slices(codes, rows, start, model.context),
        "start": start,
        "length": np.full(len(rows), length, np.int32),
    }
    if model.upsampling:
        batch["above"] = _slices(above, rows, start // model.upsampling, model.context // model.upsampling)
    words = [request.words_of(int(row)) for row in rows]
    return prior.told(batch, words) | performed.of_windows(model, scores, rows, start)


def _slices(codes: np.ndarray, rows: np.ndarray, start: np.ndarray, size: int) -> np.ndarray:
    """codes[row, start : start + size] for every pair, zeros behind the end: [B, size, Q]."""
    places = start[:, None] + np.arange(size)
    inside = (places < codes.shape[1])[..., None]
    return np.where(inside, codes[rows[:, None], np.minimum(places, codes.shape[1] - 1)], 0).astype(np.int32)
