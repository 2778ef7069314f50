"""Opens and checks all folders that an evaluation reads, before anything that takes long."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from musicgen_jax import config
from musicgen_jax.codes import code_shards, provenance
from musicgen_jax.data import audio_dataset, shards
from musicgen_jax.evaluation import composer_likelihood, paired
from musicgen_jax.evaluation.samples import Folder, read_samples
from musicgen_jax.priors import trained
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.tokenizers.tokenizer import Tokenizer
from musicgen_jax.training import metrics

HELD_OUT = ("test", "validation")  # the split that is judged: the first of them that there is


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Opened inputs of an evaluation.

    Attributes:
      split: of the audio and of the codes.
      priors: by tier, each with the codes of that audio.
      folder: of the samples, with their settings and scores; empty where none was given.
      references: name of a sample -> the recording that it is to sound like; empty where none was given.
      curves: run -> records of its metrics.jsonl.
      pieces: that the composer is judged on; None without one, or where the data have no scores for it.
      absent: name of a metric that cannot be measured on these inputs -> why.
    """

    split: str
    priors: dict[str, trained.TrainedPrior]
    folder: Folder
    references: dict[str, pathlib.Path]
    curves: dict[str, list[dict[str, Any]]]
    pieces: composer_likelihood.Pieces | None
    absent: dict[str, str]


def open_all(
    tokenizer: Tokenizer,
    priors: Mapping[str, trained.TrainedPrior],
    data: str,
    codes: str,
    samples: str,
    workdirs: Mapping[str, str],
    composer: trained.TrainedPrior | None = None,
    references: str = "",
) -> Inputs:
    """Opens what `evaluation.evaluate` was given.

    Raises:
      NotFoundError: a folder is not there, or holds something else.
      UserError: no held-out split; codes, priors or samples of another tokenizer; codes of other audio; no sample that
        can be judged; no reference of any sample's name.
    """
    audio_dataset.check_sample_rate(data, tokenizer.layout.sample_rate)
    split = held_out_split(data)
    with_codes = {}
    for tier, prior in sorted(priors.items(), key=lambda item: tokenizer.layout.rank(item[0])):
        prior.require_tokenizer(tokenizer.layout)
        with_codes[tier] = dataclasses.replace(prior, codes_path=codes or prior.codes_path)
        _check_codes(with_codes[tier], bool(codes), tokenizer.fingerprint, data)
    folder = read_samples(samples, tokenizer) if samples else Folder([], {}, {})
    pairs, alone = paired.find([one.sound.name for one in folder.samples], references) if references else ({}, {})
    pieces, absent = open_pieces(composer, data, split)
    absent |= alone | {f"samples.{name}": reason for name, reason in folder.left_out.items()}
    return Inputs(split, with_codes, folder, pairs, read_curves(workdirs), pieces, absent)


def open_pieces(
    composer: trained.TrainedPrior | None, data: str, split: str
) -> tuple[composer_likelihood.Pieces | None, dict[str, str]]:
    """The scores that a composer is judged on, or None and why `score.nats_per_note` is absent."""
    if composer is None:
        return None, {}
    try:
        return composer_likelihood.open_pieces(composer.config, data, split), {}
    except UserError as error:
        return None, {"score.nats_per_note": str(error)}


def read_curves(workdirs: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Run -> records of its metrics.jsonl."""
    return {name: metrics.read(pathlib.Path(path) / "metrics.jsonl") for name, path in workdirs.items()}


def check_out(out: str) -> pathlib.Path:
    """The folder `out`, made where it is absent. Raises OSError, with the path, where nothing can be written there."""
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder


def held_out_split(data: str) -> str:
    """The split of a data set that is judged. Raises UserError where it has none."""
    names = shards.split_names(data)
    found = next((split for split in HELD_OUT if split in names), None)
    if found is None:
        raise UserError(f"{data} has only the split {', '.join(names)}: evaluation needs at least 3 tracks in all")
    return found


def _check_codes(prior: trained.TrainedPrior, given: bool, fingerprint: str, data: str) -> None:
    """Raises UserError unless a prior's codes are of the audio `data`, by the tokenizer with this fingerprint.

    Args:
      prior: whose `codes_path` is looked at.
      given: whether that was passed; else it is what the prior remembers of its training.
      fingerprint: of the tokenizer.
      data: folder of prepare_data.
    """
    codes, name = prior.codes_path, prior.config.tier
    which = f"`codes`={codes}" if given else f"`{name}`: the codes that this prior was trained on, {codes},"
    remedy = "pass `codes`=DIR, which extract_codes wrote with this `vqvae` and `data`"
    config.require(bool(codes), f"`{name}`: this prior does not know on which codes it was trained: {remedy}")
    try:
        made_with = code_shards.read_facts(codes).layout.fingerprint
    except NotFoundError as error:
        raise NotFoundError(f"{which} cannot be found ({error}): {remedy}") from error
    same = made_with == fingerprint
    config.require(same, f"{which} are of VQ-VAE {made_with}, and `vqvae` is {fingerprint}: {remedy}")
    different = provenance.other_audio(codes, data)
    config.require(not different, f"{which} are not of the audio in `data`={data} ({different}): {remedy}")
