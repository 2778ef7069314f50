"""How much of a codebook a tokenizer uses, over a whole split and one tier at a time."""

from collections.abc import Iterable

import numpy as np

from musicgen_jax.runtime.errors import UserError


def histogram(sequences: Iterable[np.ndarray], codebook_size: int) -> np.ndarray:
    """Counts every code of a split.

    Args:
      sequences: integer arrays of any shape, codes in [0, codebook_size).
      codebook_size: K.

    Returns:
      int64 [K].

    Raises:
      UserError: an array is not of integers, or a code lies outside [0, K).
    """
    counts = np.zeros(codebook_size, np.int64)
    for codes in sequences:
        flat = np.ravel(codes)
        if not np.issubdtype(flat.dtype, np.integer):
            raise UserError(f"codes of type {flat.dtype}: codes must be integers")
        if flat.size and not 0 <= int(flat.min()) <= int(flat.max()) < codebook_size:
            raise UserError(
                f"codes from {flat.min()} to {flat.max()} do not fit a codebook of {codebook_size}: "
                "they were made by another tokenizer; extract them again"
            )
        counts += np.bincount(flat.astype(np.int64), minlength=codebook_size)
    return counts


def usage_statistics(counts: np.ndarray) -> dict[str, float | int]:
    """Usage, perplexity and dead codes from the histogram of one tier.

    Args:
      counts: int64 [K], from `histogram`, over the whole split: a batch understates all three.

    Returns:
      usage: fraction of the K codes that occur.
      perplexity: exp(H) of the code frequencies, from 1 (one code only) to K (all equally frequent).
      dead: number of codes that never occur.
      num_codes: how many codes were counted. Far fewer than K says little about usage.

    Raises:
      UserError: nothing was counted.
    """
    total = int(counts.sum())
    if total == 0:
        raise UserError("the histogram is empty: codebook usage needs at least one code")
    frequencies = counts[counts > 0] / total
    entropy = -float(np.sum(frequencies * np.log(frequencies)))
    return {
        "usage": float(np.count_nonzero(counts)) / counts.size,
        "perplexity": float(np.exp(entropy)),
        "dead": int(np.count_nonzero(counts == 0)),
        "num_codes": total,
    }
