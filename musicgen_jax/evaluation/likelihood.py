"""Unigram and bigram models of codes: what a prior must beat before its likelihood means anything.

Both are interpolated models whose weights come from EM on training tracks that were held out of the counts (deleted
interpolation, Jelinek and Mercer 1980), so they are as strong as such a model gets without looking at the test data.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from musicgen_jax.codes.layout import Layout
from musicgen_jax.runtime.errors import UserError

NUM_FOLDS = 5
EM_STEPS = 100
# Contexts are grouped by the octave of how often they occur; 2^40 codes are more than anyone has.
NUM_BUCKETS = 41


@dataclasses.dataclass(frozen=True)
class UnigramModel:
    """p(code) = weight * count / total + (1 - weight) / K.

    Attributes:
      probabilities: float64 [K], all positive.
      weight: share of the counts, the rest is uniform.
    """

    probabilities: np.ndarray
    weight: float

    def nats(self, codes: np.ndarray) -> float:
        """-log likelihood of one sequence of codes [T], summed over its codes."""
        return -float(np.sum(np.log(self.probabilities[codes])))


@dataclasses.dataclass(frozen=True)
class BigramModel:
    """p(code | previous) = w0 * count / total + w1 * discounted / total + w2 * p(code), the w by frequency of previous.

    The discounted counts are the counts less one, without the pairs that were seen only once: beside the plain counts
    they let EM decide how much a single occurrence is worth. The first code of a sequence has no previous one and is
    scored by the unigram model.

    Attributes:
      counts: int64 [K, K], row: previous code, column: code.
      weights: float64 [K, 3], of each previous code; rows sum to 1.
      unigram: the model that is backed off to.
    """

    counts: np.ndarray
    weights: np.ndarray
    unigram: UnigramModel

    def nats(self, codes: np.ndarray) -> float:
        """-log likelihood of one sequence of codes [T], summed over its codes."""
        previous, current = codes[:-1], codes[1:]
        components = _components(self.counts, self.unigram.probabilities, previous, current)
        conditional = np.sum(self.weights[previous] * components, axis=1)
        return self.unigram.nats(codes[:1]) - float(np.sum(np.log(conditional)))


def fit_unigram(sequences: Sequence[np.ndarray], codebook_size: int) -> UnigramModel:
    """Fits p(code) on the training sequences.

    Args:
      sequences: integer arrays [T], one a track.
      codebook_size: K.

    Raises:
      UserError: no codes, codes that are not integers [T], or codes outside [0, K).
    """
    checked = _checked(sequences, codebook_size)
    return _fit_unigram(checked, codebook_size)


def fit_bigram(sequences: Sequence[np.ndarray], codebook_size: int) -> BigramModel:
    """Fits p(code | previous code) on the training sequences; no pair spans two sequences.

    Args:
      sequences: integer arrays [T], one a track. Needs K^2 integers of memory: 32 MiB for K = 2048.
      codebook_size: K.

    Raises:
      UserError: no codes, codes that are not integers [T], or codes outside [0, K).
    """
    checked = _checked(sequences, codebook_size)
    counts = _pair_counts(checked, codebook_size)
    buckets, components, occurrences = [], [], []
    for held_out, rest in _folds(checked):
        rest_counts = _pair_counts(rest, codebook_size)
        unigram = _fit_unigram(rest, codebook_size)
        held_out_counts = _pair_counts(held_out, codebook_size)
        previous, current = np.nonzero(held_out_counts)
        components.append(_components(rest_counts, unigram.probabilities, previous, current))
        buckets.append(_buckets(rest_counts.sum(axis=1))[previous])
        occurrences.append(held_out_counts[previous, current])
    weights = _mixture_weights(np.concatenate(components), np.concatenate(occurrences), np.concatenate(buckets))
    return BigramModel(counts, weights[_buckets(counts.sum(axis=1))], _fit_unigram(checked, codebook_size))


def nats_per_code(model: UnigramModel | BigramModel, sequences: Iterable[np.ndarray]) -> float:
    """Mean -log likelihood over all codes of all sequences (every code counts once), in nats. Lower is better.

    Its exponential is the perplexity; a uniform guess over K codes has log K.

    Args:
      model: fitted on other sequences than these.
      sequences: integer arrays [T] with codes in [0, K), one a track.

    Raises:
      UserError: no codes, codes that are not integers [T], or codes outside [0, K).
    """
    unigram = model.unigram if isinstance(model, BigramModel) else model
    checked = _checked(sequences, len(unigram.probabilities))
    return sum(model.nats(codes) for codes in checked) / sum(len(codes) for codes in checked)


def bits_per_second(nats: Mapping[str, float], layout: Layout) -> float:
    """Bits that the priors together need for a second of audio: the sum over streams of codes per second * nats / ln 2.

    The one figure that compares across tokenizers; it says nothing about how well they reconstruct.

    Args:
      nats: nats per code of each stream.
      layout: of these streams.

    Raises:
      UserError: they are not those of the layout.
    """
    if set(nats) != set(layout.names):
        raise UserError(f"nats for {sorted(nats)}, and the streams are {', '.join(layout.names)}: give those of all")
    codes = {one.name: layout.frames_per_second(one.name) * one.num_codebooks for one in layout.streams}
    return float(sum(codes[name] * nats[name] / np.log(2) for name in nats))


def _checked(sequences: Iterable[np.ndarray], codebook_size: int) -> list[np.ndarray]:
    checked = []
    for codes in map(np.asarray, sequences):
        if codes.ndim != 1 or not np.issubdtype(codes.dtype, np.integer):
            raise UserError(f"codes of shape {codes.shape} and type {codes.dtype}: a sequence is integers [T]")
        if codes.size == 0:
            continue
        if not 0 <= int(codes.min()) <= int(codes.max()) < codebook_size:
            raise UserError(
                f"codes from {codes.min()} to {codes.max()} do not fit a codebook of {codebook_size}: "
                "they were made by another tokenizer"
            )
        checked.append(codes.astype(np.int64))
    if not checked:
        raise UserError("no codes: a model of codes needs at least one sequence that is not empty")
    return checked


def _folds(sequences: list[np.ndarray]) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """(held out, rest) several times, every track held out once; a single track is cut into pieces instead."""
    if len(sequences) == 1:
        sequences = [piece for piece in np.array_split(sequences[0], NUM_FOLDS) if piece.size]
    num_folds = min(NUM_FOLDS, len(sequences))
    return [
        (sequences[fold::num_folds], [codes for i, codes in enumerate(sequences) if i % num_folds != fold])
        for fold in range(num_folds)
    ]


def _fit_unigram(sequences: list[np.ndarray], codebook_size: int) -> UnigramModel:
    if not sequences:
        return UnigramModel(np.full(codebook_size, 1 / codebook_size), 0.0)
    components, occurrences = [], []
    for held_out, rest in _folds(sequences):
        frequencies = _frequencies(rest, codebook_size)
        held_out_counts = np.bincount(np.concatenate(held_out), minlength=codebook_size)
        components.append(np.stack([frequencies, np.full(codebook_size, 1 / codebook_size)], axis=1))
        occurrences.append(held_out_counts)
    one_bucket = np.zeros(len(components) * codebook_size, np.int64)
    weight = _mixture_weights(np.concatenate(components), np.concatenate(occurrences), one_bucket)[0, 0]
    probabilities = weight * _frequencies(sequences, codebook_size) + (1 - weight) / codebook_size
    return UnigramModel(probabilities, float(weight))


def _frequencies(sequences: list[np.ndarray], codebook_size: int) -> np.ndarray:
    """Relative frequencies, float64 [K]; uniform where a single code leaves nothing to count outside its fold."""
    counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *sequences]), minlength=codebook_size)
    return counts / counts.sum() if counts.any() else np.full(codebook_size, 1 / codebook_size)


def _pair_counts(sequences: list[np.ndarray], codebook_size: int) -> np.ndarray:
    """int64 [K, K]; one sequence after the other, so that no pair spans two."""
    counts = np.zeros(codebook_size**2, np.int64)
    for codes in sequences:
        counts += np.bincount(codes[:-1] * codebook_size + codes[1:], minlength=codebook_size**2)
    return counts.reshape(codebook_size, codebook_size)


def _components(counts: np.ndarray, unigram: np.ndarray, previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    """The three distributions of a bigram model at N pairs, float64 [N, 3]; without counts all are the unigram."""
    backoff = unigram[current]
    columns = []
    for discount in (0, 1):
        # The discounted total of a row in closed form: no second matrix of counts is built.
        totals = counts.sum(axis=1) - discount * np.count_nonzero(counts, axis=1)
        pairs = np.maximum(counts[previous, current] - discount, 0)
        seen = totals[previous] > 0
        columns.append(np.where(seen, pairs / np.maximum(totals[previous], 1), backoff))
    return np.stack([*columns, backoff], axis=1)


def _buckets(context_counts: np.ndarray) -> np.ndarray:
    """Octave of how often a context occurs: 0 for never, 1 for once, 2 for 2-3, 3 for 4-7, ..."""
    return np.frexp(context_counts.astype(np.float64))[1]


def _mixture_weights(components: np.ndarray, occurrences: np.ndarray, buckets: np.ndarray) -> np.ndarray:
    """Maximum likelihood weights of C distributions by EM, one set a bucket: [N, C], [N], [N] -> [NUM_BUCKETS, C].

    EM starts from equal weights, each with one pseudo-count, so no distribution ever gets weight zero.
    """
    num_components = components.shape[1]
    weights = np.full((NUM_BUCKETS, num_components), 1 / num_components)
    for _ in range(EM_STEPS):
        shares = weights[buckets] * components
        shares *= (occurrences / np.sum(shares, axis=1))[:, None]
        totals = np.ones((NUM_BUCKETS, num_components))
        for component in range(num_components):
            totals[:, component] += np.bincount(buckets, weights=shares[:, component], minlength=NUM_BUCKETS)
        weights = totals / totals.sum(axis=1, keepdims=True)
    return weights
