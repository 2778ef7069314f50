"""How well a prior predicts held-out codes, beside unigram and bigram models of the same training codes."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import code_dataset, code_shards, places
from musicgen_jax.evaluation import bootstrap, likelihood
from musicgen_jax.priors import loss, trained
from musicgen_jax.runtime import progress_report
from musicgen_jax.runtime.errors import UserError

BATCH_SIZE = 16


def evaluate_prior(prior: trained.TrainedPrior, split: str, max_codes: int) -> dict[str, Any]:
    """Scores the tracks of a held-out split, or their beginnings.

    Windows move on by half a context and score their second half (the first window all of it), so each code is scored
    once and has seen at least half a context, or its whole track so far (rounded to whole codes of the tier above). The
    baselines score the same codes.

    Args:
      prior: the model; its code shards give the held-out codes and the training codes of the baselines.
      split: "validation" or "test".
      max_codes: about how many codes are scored; each track gives its beginning, all tracks the same number at most
        and half a context at least (or all they have). 0: whole tracks.

    Returns:
      "nats_per_code", "perplexity", "unigram_nats", "bigram_nats": over all codes together; "num_codes", "num_tracks",
      "num_whole_tracks", "seconds" of audio; `intervals` and `tracks` of nats_per_code, of the two baselines and of
      nats_minus_bigram, see `bootstrap.of_tracks`: tracks count by their codes.

    Raises:
      NotFoundError: the prior's code shards are not where they were in training.
      UserError: the model gives no finite likelihood.
    """
    windows = code_dataset.Windows(prior.codes_path, split, prior.config)
    return _evaluate(prior, split, windows, _frames_a_track(windows, max_codes))


def evaluate_priors(
    priors: Mapping[str, trained.TrainedPrior], split: str, max_codes: int
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """`evaluate_prior` of several tiers, all on the seconds of audio that `max_codes` codes of the finest take.

    Returns:
      Tier -> its figures, and tier -> why it has none.
    """
    windows = {tier: code_dataset.Windows(prior.codes_path, split, prior.config) for tier, prior in priors.items()}
    finest = min(windows.values(), key=lambda of_stream: of_stream.hop_length, default=None)
    num_samples = finest.tracks.layout.padded(_frames_a_track(finest, max_codes) * finest.hop_length) if finest else 0
    found, failed = {}, {}
    for tier, prior in priors.items():
        try:
            found[tier] = _evaluate(prior, split, windows[tier], num_samples // windows[tier].hop_length)
        except UserError as error:
            failed[tier] = str(error)
    return found, failed


def _frames_a_track(windows: code_dataset.Windows, max_codes: int) -> int:
    """How many frames of each track are scored: whole hops, so that no window is run for a few codes."""
    if not max_codes:
        return max(windows.lengths)
    hop = _hop(windows.model)
    return max(max_codes // windows.model.num_codebooks // len(windows.entries) // hop, 1) * hop


def _evaluate(prior: trained.TrainedPrior, split: str, windows: code_dataset.Windows, limit: int) -> dict[str, Any]:
    """The figures of `evaluate_prior`, on the first `limit` frames of each held-out track."""
    model = prior.config
    totals, counts = score(prior, windows, limit)
    stop = limit * windows.hop_length
    names = [entry.track_id for entry in windows.entries]
    held_out = [windows.tracks.read(track, [model.tier], 0, stop)[model.tier] for track in range(len(names))]
    train = code_shards.Tracks(prior.codes_path, "train").all_codes(model.tier)
    held_out, train = ([code_dataset.of_both_channels(one, model) for one in part] for part in (held_out, train))
    nats = {"nats_per_code": totals / counts}
    for name, fit in (("unigram_nats", likelihood.fit_unigram), ("bigram_nats", likelihood.fit_bigram)):
        nats[name] = _baseline(fit, train, held_out, model) / counts
    nats["nats_minus_bigram"] = nats["nats_per_code"] - nats["bigram_nats"]
    rows = [
        {bootstrap.TRACK: name, "num_codes": int(counts[track])} | {key: float(one[track]) for key, one in nats.items()}
        for track, name in enumerate(names)
    ]
    found = bootstrap.of_tracks(rows, weight="num_codes")
    means = {name: found["intervals"][name]["mean"] for name in ("nats_per_code", "unigram_nats", "bigram_nats")}
    return {
        **means,
        "perplexity": float(np.exp(means["nats_per_code"])),
        "num_codes": int(counts.sum()),
        "num_tracks": len(names),
        "num_whole_tracks": sum(length <= limit for length in windows.lengths),
        "seconds": int(counts.sum()) / model.num_codebooks / model.codes_per_second,
        **found,
    }


def _baseline(
    fit: Callable[..., likelihood.UnigramModel | likelihood.BigramModel],
    train: list[np.ndarray],
    held_out: list[np.ndarray],
    model: config.PriorConfig,
) -> np.ndarray:
    """Nats of each held-out track's codes [T, Q] under a model of each codebook by itself, float64 [N]."""
    nats = np.zeros(len(held_out))
    for q in range(model.num_codebooks):
        fitted = fit([codes[:, q] for codes in train], model.num_codes)
        nats += [likelihood.nats_per_code(fitted, [codes[:, q]]) * len(codes) for codes in held_out]
    return nats


@dataclasses.dataclass(frozen=True)
class _Place:
    """A window and the frames [first, stop) of it that are scored."""

    track: int
    start: int
    first: int
    stop: int


def _hop(model: config.PriorConfig) -> int:
    """How far windows move on: about half a context, a multiple of the codes for one of the tier above."""
    multiple = model.multiple
    return max(model.context // 2 // multiple, 1) * multiple


def _places(windows: places.Places, model: config.PriorConfig, limit: int) -> Iterator[_Place]:
    context, hop = model.context, _hop(model)
    for track, frames in enumerate(windows.lengths):
        length = min(frames, limit)
        yield _Place(track, 0, 0, min(context, length))
        for start in range(hop, length - context + hop, hop):
            yield _Place(track, start, context - hop, min(context, length - start))


def score(prior: trained.TrainedPrior, windows: places.Places, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `limit` frames of each track, windows as above.

    Returns:
      Of each of N tracks: its sum of -log p in nats, float64 [N], and its number of codes, int64 [N].

    Raises:
      UserError: the model gives no finite likelihood.
    """
    all_places, losses = list(_places(windows, prior.config, limit)), loss.of_windows(prior.functional)
    totals, counts = np.zeros(len(windows.lengths)), np.zeros(len(windows.lengths), np.int64)
    with progress_report.Progress(f"score {prior.config.tier} codes", len(all_places), "windows") as progress:
        for first in range(0, len(all_places), BATCH_SIZE):
            chosen = all_places[first : first + BATCH_SIZE]
            # The last batch is filled by repetition, so that one program serves all; the repeats are not counted.
            padded = chosen + chosen[-1:] * (BATCH_SIZE - len(chosen))
            examples = [windows.window(place.track, place.start) for place in padded]
            batch = prior.judged({name: np.stack([example[name] for example in examples]) for name in examples[0]})
            batch = {name: jnp.asarray(array) for name, array in batch.items()}
            nats = np.asarray(losses(prior.weights, batch), np.float64)
            for place, row in zip(chosen, nats, strict=False):
                totals[place.track] += float(row[place.first : place.stop].sum())
                counts[place.track] += row[place.first : place.stop].size
            progress.update(len(chosen))
    lost = np.count_nonzero(~np.isfinite(totals))
    if lost:
        raise UserError(
            f"the likelihood of {lost} of {len(totals)} held-out tracks is not a finite number: the model's training "
            "diverged; train it with a lower learning rate"
        )
    return totals, counts
