"""Size and likelihood of a prior before and after compression: measured, printed, written to compression.json."""

import dataclasses
import pathlib
from typing import Any

import jax

from musicgen_jax import config
from musicgen_jax.codes import code_dataset, code_shards
from musicgen_jax.data import shards
from musicgen_jax.evaluation import prior_likelihood
from musicgen_jax.priors import trained
from musicgen_jax.runtime import console, files

FILE_NAME = "compression.json"


def check_codes(codes: str, model: config.PriorConfig, inherits: bool = False) -> None:
    """Raises UserError unless `codes` holds validation tracks of the tokenizer that the prior was trained with;
    `inherits`: the prior began from another one."""
    code_shards.read_index(codes)  # says so where it is no folder of codes
    tokenizer = code_shards.read_facts(codes).layout.fingerprint
    config.require(
        tokenizer == model.vqvae,
        f"`data`={codes} holds codes of VQ-VAE {tokenizer}, but the prior was trained on those of {model.vqvae}: pass "
        "codes of that one",
    )
    if not code_dataset.may_be_of(model, codes, inherits):
        console.say(
            f"warning: {codes} is not what the prior was trained on, but other music in codes of the same "
            "tokenizer: the figures are of that, and its validation tracks may be some that the prior has learned"
        )
    config.require(
        "validation" in shards.split_names(codes),
        f"`data`={codes} has no validation split, which the prior before and after is scored on: prepare more tracks",
    )


def measure(prior: trained.TrainedPrior, codes: str, max_codes: int) -> dict[str, float | int]:
    """{"bytes": of the weights} and, with codes, "nats_per_code" of the validation split.

    Args:
      prior: the model.
      codes: folder of extract_codes, or "" to score nothing.
      max_codes: see `prior_likelihood.evaluate_prior`.
    """
    found: dict[str, float | int] = {"bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(prior.weights))}
    if codes:
        held_out = dataclasses.replace(prior, codes_path=codes)
        found["nats_per_code"] = prior_likelihood.evaluate_prior(held_out, "validation", max_codes)["nats_per_code"]
    return found


def write(out: pathlib.Path, facts: dict[str, Any], stages: dict[str, dict[str, float | int]]) -> None:
    """Writes and prints the figures.

    Args:
      out: gets compression.json.
      facts: what was done.
      stages: name -> what `measure` returned; the first one is what the others are compared with.
    """
    files.write_json(out / FILE_NAME, facts | stages)
    first = next(iter(stages.values()))
    for name, found in stages.items():
        line = f"{name}: {found['bytes'] / 2**20:.2f} MiB"
        if "nats_per_code" in found:
            rise = found["nats_per_code"] / first["nats_per_code"] - 1
            line += f", {found['nats_per_code']:.4f} nats per code ({rise:+.2%})"
        print(line)
