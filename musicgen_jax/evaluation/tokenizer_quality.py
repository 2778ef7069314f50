"""How well a tokenizer reconstructs held-out tracks, tier by tier, and how it uses its codes."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from musicgen_jax.evaluation import bootstrap, codebook_usage, parallel, reconstruction, report_media
from musicgen_jax.evaluation.recordings import HeldOut
from musicgen_jax.runtime import progress_report
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.tokenizers.tokenizer import Tokenizer

CLIP_SECONDS = 8.0  # of what the report plays
# Of windows; on a CPU, whose caches then hold them, short ones of which nine tenths are kept. What they are cut into
# changes no code and no sample.
WINDOW_SECONDS, CPU_WINDOW_SECONDS, MARGINS_A_WINDOW = 10.0, 1.0, 10


@dataclasses.dataclass
class TokenizerQuality:
    """Figures and sounds of one evaluation.

    Attributes:
      reconstruction: tier -> metrics, see `reconstruction.summarize`.
      codebook: tier -> usage, perplexity, dead.
      clips: for the report; "original" and every tier.
      absent: name of a metric that cannot be measured on these tracks -> why.
    """

    reconstruction: dict[str, dict[str, Any]]
    codebook: dict[str, dict[str, Any]]
    clips: list[dict[str, report_media.Clip]]
    absent: dict[str, str]


def evaluate_tokenizer(tokenizer: Tokenizer, held_out: HeldOut, num_clips: int) -> TokenizerQuality:
    """Encodes and decodes held-out recordings; memory is that of a few.

    A reconstruction that is not finite is no reason to lose the others: the track has no figures of that tier, and
    `absent` says why.

    Args:
      tokenizer: the model.
      held_out: recordings at its sample rate.
      num_clips: how many of them have their first seconds in the report.
    """
    layout = tokenizer.layout
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in layout.names}
    histograms = {one.name: np.zeros((one.num_codebooks, one.num_codes), np.int64) for one in layout.streams}
    players, clips, absent = held_out.chosen(num_clips), {}, {}
    with progress_report.Progress("reconstruct", sum(held_out.lengths) / layout.sample_rate, "audio-s") as progress:
        for one in parallel.ordered(_measured, _reconstructed(tokenizer, held_out, histograms)):
            name = held_out.names[one.index]
            absent |= {f"reconstruction.{tier}.tracks.{name}": reason for tier, reason in one.unfit.items()}
            for tier, measures in one.measures.items():
                rows[tier].append({bootstrap.TRACK: name} | measures)
            if one.index in players:
                clips[one.index] = _clips(held_out.title(one.index), one)
            progress.update(len(one.audio) / layout.sample_rate)
    summaries = {tier: reconstruction.summarize(rows[tier]) for tier in layout.names}
    for tier, found in summaries.items():
        reasons = {name: reason for name, reason in reconstruction.MEASURES.items() if name not in found}
        absent |= {f"reconstruction.{tier}.{name}": reason for name, reason in reasons.items()}
    return TokenizerQuality(
        reconstruction=summaries,
        codebook={tier: codebook_usage.usage_statistics(histograms[tier]) for tier in layout.names},
        clips=[clips[index] for index in players],
        absent=absent,
    )


@dataclasses.dataclass
class _Reconstructed:
    """One recording: its number, its sound at a rate, its reconstructions by tier, and what is found out about them."""

    index: int
    audio: np.ndarray
    sample_rate: int
    decoded: dict[str, np.ndarray]
    measures: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    unfit: dict[str, str] = dataclasses.field(default_factory=dict)


def _reconstructed(
    tokenizer: Tokenizer, held_out: HeldOut, histograms: dict[str, np.ndarray]
) -> Iterator[_Reconstructed]:
    """Encodes and decodes each recording; counts its codes."""
    layout = tokenizer.layout
    encoding, decoding = _window_seconds(tokenizer)
    for index in range(len(held_out)):
        audio, decoded = held_out.audio(index), {}
        for tier, codes in tokenizer.encode(iter([audio]), encoding).items():
            histograms[tier] += codebook_usage.histograms([codes], layout.stream(tier).num_codes)
            decoded[tier] = tokenizer.decode(codes, tier, decoding[tier])[: len(audio)]
        yield _Reconstructed(index, audio, layout.sample_rate, decoded)


def _window_seconds(tokenizer: Tokenizer) -> tuple[float, dict[str, float]]:
    """Of the windows to encode, and of those to decode each stream."""
    layout = tokenizer.layout
    margins = [tokenizer.encoder().margin, *(tokenizer.margin(name) for name in layout.names)]
    if jax.default_backend() == "cpu":
        reaches = [(one.before + one.after) / layout.sample_rate for one in margins]
        seconds = [min(max(CPU_WINDOW_SECONDS, MARGINS_A_WINDOW * reach), WINDOW_SECONDS) for reach in reaches]
    else:
        seconds = [WINDOW_SECONDS] * len(margins)
    return seconds[0], dict(zip(layout.names, seconds[1:], strict=True))


def _measured(one: _Reconstructed) -> _Reconstructed:
    """Compares the reconstructions with the recording; those that cannot be compared go."""
    one.unfit = _unfit(one.audio, one.decoded)
    for tier in one.unfit:
        del one.decoded[tier]
    if one.decoded:
        found = reconstruction.compare(one.audio, list(one.decoded.values()), one.sample_rate)
        one.measures = dict(zip(one.decoded, found, strict=True))
    return one


def _unfit(audio: np.ndarray, decoded: dict[str, np.ndarray]) -> dict[str, str]:
    """Tier -> why its reconstruction cannot be compared."""
    found = {}
    for tier, reconstructed in decoded.items():
        try:
            reconstruction.check_pair(audio, reconstructed)
        except UserError as error:
            found[tier] = str(error)
    return found


def _clips(title: str, one: _Reconstructed) -> dict[str, report_media.Clip]:
    end = round(CLIP_SECONDS * one.sample_rate)
    sounds = {"original": one.audio} | one.decoded
    return {key: report_media.Clip(title, sound[:end].copy(), one.sample_rate) for key, sound in sounds.items()}
