"""How a section ends before another one returns: of several endings, the one that leads best to what follows.

A composer that draws an ending knows only what was before it. How likely it finds what returns behind each of several
endings says which of them fits.
"""

import numpy as np

from musicgen_jax.priors import loss, trained
from musicgen_jax.sampling import requests, tier_sampler

NUM_ENDINGS = 8


def draw(
    composer: trained.TrainedPrior,
    request: requests.Request,
    begin: np.ndarray,
    num_codes: int,
    stop: int,
    following: np.ndarray,
    beside: tier_sampler.Beside,
) -> np.ndarray:
    """The likeliest of NUM_ENDINGS for each sample.

    Args:
      composer: draws and judges them.
      request: what is composed; one ending is that of its seed, the others are of seeds that follow from it.
      begin: what is there, int32 [N, P, 1].
      num_codes: how many tokens are composed in all.
      stop: how many are there when the ending is.
      following: what returns then, or its beginning, int32 [N, F, 1]; with the ending it fits into a window.
      beside: gives the arrays that the composer's conditions read, see `tier_sampler.TierSampler`.

    Returns:
      int32 [N, stop, 1], with the ending behind the beginning.
    """
    best, least = np.zeros(0), np.full(request.num_samples, np.inf)
    for attempt in range(NUM_ENDINGS):
        other = request.reseeded(attempt) if attempt else request
        sampler = tier_sampler.TierSampler(composer, other, begin, num_codes, stop=stop, beside=beside)
        while sampler.done < stop:
            sampler.advance(None)
        codes = sampler.codes[:, :stop]
        nats = _nats(composer, request, np.concatenate([codes, following], axis=1), stop, beside)
        best = codes if not attempt else np.where((nats < least)[:, None, None], codes, best)
        least = np.minimum(nats, least)
    return best


def _nats(
    composer: trained.TrainedPrior,
    request: requests.Request,
    codes: np.ndarray,
    first: int,
    beside: tier_sampler.Beside,
) -> np.ndarray:
    """-log p of the codes [N, T, 1] from `first` on, float64 [N], with as many before them as a window has room for."""
    context, size = composer.config.context, min(request.num_together(False), len(codes))
    start = max(codes.shape[1] - context, 0)
    scored = slice(first - start, codes.shape[1] - start)
    found, losses_of = [], loss.of_windows(composer.functional)
    for place in range(0, len(codes), size):
        rows = np.minimum(np.arange(place, place + size), len(codes) - 1)  # one shape, compiled once
        starts = np.full(size, start, np.int32)
        batch = tier_sampler.window_batch(composer, request, codes, None, rows, starts) | beside(rows, starts)
        losses = np.asarray(losses_of(composer.weights, batch), np.float64)
        found.append(losses[:, scored].sum(axis=(1, 2)))
    return np.concatenate(found)[: len(codes)]
