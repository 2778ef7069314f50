"""What a prior says of codes, window by window."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from musicgen_jax.nn import modules
from musicgen_jax.priors import loss, trained
from musicgen_jax.sampling import requests, tier_sampler, windows


def code_nats(
    prior: trained.TrainedPrior, request: requests.Request, codes: np.ndarray, above: np.ndarray
) -> np.ndarray:
    """-log p of every code given half a context before it, or all there is.

    Args:
      prior: of a tier below the top.
      request: labels and length.
      codes: int32 [N, T, Q].
      above: int32 [N, T / upsampling, Q].

    Returns:
      float64 [N, T, Q].
    """
    model, rows = prior.config, np.arange(len(codes))
    nats = np.zeros(codes.shape)
    for window in windows.plan(codes.shape[1], model.context, 0.5, model.upsampling):
        start = np.full(len(codes), window.start, np.int32)
        batch = tier_sampler.window_batch(prior, request, codes, above, rows, start)
        losses = np.asarray(_scorer(prior.functional)(prior.weights, batch), np.float64)
        nats[:, window.kept_in_track] = losses[:, window.kept]
    return nats


@functools.lru_cache(maxsize=2)
def _scorer(functional: modules.Functional) -> Callable[[tuple, dict[str, Any]], jax.Array]:
    """Jitted (weights, batch) -> -log p of every code, [B, T, Q]."""
    return jax.jit(lambda weights, batch: loss.code_losses(functional.bind(*weights)(batch), batch["codes"]))
