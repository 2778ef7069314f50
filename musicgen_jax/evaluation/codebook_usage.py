"""How much of a codebook a tokenizer uses, over a whole split and one stream at a time."""

from collections.abc import Iterable

import numpy as np

from musicgen_jax.runtime.errors import UserError


def histograms(sequences: Iterable[np.ndarray], codebook_size: int) -> np.ndarray:
    """Counts every code of a split, each codebook by itself.

    Args:
      sequences: one or more integer arrays [..., Q], codes in [0, codebook_size).
      codebook_size: K.

    Returns:
      int64 [Q, K].

    Raises:
      UserError: an array is not of integers, or a code lies outside [0, K).
    """
    counts = np.zeros((1, codebook_size), np.int64)
    for codes in sequences:
        if not np.issubdtype(codes.dtype, np.integer):
            raise UserError(f"codes of type {codes.dtype}: codes must be integers")
        if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) < codebook_size:
            raise UserError(
                f"codes from {codes.min()} to {codes.max()} do not fit a codebook of {codebook_size}: "
                "they were made by another tokenizer; extract them again"
            )
        columns = codes.reshape(-1, codes.shape[-1]).T.astype(np.int64)
        counts = counts + np.stack([np.bincount(column, minlength=codebook_size) for column in columns])
    return counts


def usage_statistics(counts: np.ndarray) -> dict[str, float | int]:
    """Usage, perplexity and dead codes from the histograms of one stream.

    Args:
      counts: int64 [Q, K], from `histograms`, over the whole split: a batch understates all three.

    Returns:
      usage: fraction of the Q * K codes that occur.
      perplexity: exp(H) of the code frequencies, from 1 (one code only) to K (all equally frequent); of several
        codebooks with the mean of their H.
      dead: number of codes that never occur.
      num_codes: how many codes were counted. Far fewer than Q * K says little about usage.

    Raises:
      UserError: nothing was counted.
    """
    if not counts.sum():
        raise UserError("the histogram is empty: codebook usage needs at least one code")
    entropies = []
    for of_codebook in counts:
        frequencies = of_codebook[of_codebook > 0] / of_codebook.sum()
        entropies.append(-float(np.sum(frequencies * np.log(frequencies))))
    return {
        "usage": float(np.count_nonzero(counts)) / counts.size,
        "perplexity": float(np.exp(np.mean(entropies))),
        "dead": int(np.count_nonzero(counts == 0)),
        "num_codes": int(counts.sum()),
    }
