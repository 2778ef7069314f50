"""Published models at reduced size, with weights drawn in the order of their names: the same in any program."""

import json
import math
import pathlib

import numpy as np

from musicgen_jax import config
from musicgen_jax.conversion import (
    checkpoint_files,
    hugging_face_names,
    jukebox,
    jukebox_prior,
    jukebox_vqvae,
    native,
    weight_table,
)
from musicgen_jax.nn import modules
from musicgen_jax.priors.jukebox import JukeboxPrior
from musicgen_jax.tokenizers.vqvae import vqvae


def tiny_run() -> config.VQVAETraining:
    """The published VQ-VAE's shape with hops of 16, 8 and 4 samples and 32 codes of width 4."""
    small = {"width": 4, "depth": 1}
    run = jukebox_vqvae.released()
    run.model = config.VQVAEConfig(
        top=config.TierConfig(downsampling=(2, 1, 1), **small),
        middle=config.TierConfig(downsampling=(2, 1), **small),
        bottom=config.TierConfig(downsampling=(2,), width=8, depth=2),
        quantizer=config.QuantizerConfig(num_codes=32, code_width=4),
    )
    return run


def tiny_prior(**changes) -> config.JukeboxPriorConfig:
    """The published 5b prior with small matrices and few layers; its heads and rows are the release's."""
    transformer = config.JukeboxTransformerConfig(num_layers=3, width=16, attention_width=8, mlp_width=16)
    sizes = {"context": 128, "num_codes": 16, "num_genres": 3, "num_artists": 4, "merged": True}
    return config.JukeboxPriorConfig(**sizes | {"transformer": transformer} | changes)


def tiny_upsampler(tier: str) -> config.JukeboxPriorConfig:
    """A published upsampler; its conditioner is of full size, for a file does not tell it."""
    released = jukebox_prior.RELEASED[f"upsampler_{tier}"]
    transformer = config.JukeboxTransformerConfig(
        num_layers=2, width=16, num_heads=1, attention_width=4, mlp_width=16, init_scale=0.4
    )
    return tiny_prior(
        tier=tier,
        upsampling=4,
        merged=False,
        scaled_residuals=tier == "middle",
        transformer=transformer,
        conditioner=config.ConditionerConfig(
            **config.to_dict(released.conditioner) | {"width": 8, "depth": 2, "dilation_cycle": 2}
        ),
    )


def write_cascade(folder: pathlib.Path) -> str:
    """Writes a file of all models at reduced width, but of the release's hops and rate, and converts it.

    Returns:
      The folder of the converted models, with names of artists and genres beside it.
    """
    run, small = jukebox_vqvae.released(), {"width": 4, "depth": 1}
    run.model = config.VQVAEConfig(
        top=config.TierConfig(downsampling=(3, 2, 2), **small),
        middle=config.TierConfig(downsampling=(3, 2), **small),
        bottom=config.TierConfig(downsampling=(3,), width=8, depth=2),
        quantizer=config.QuantizerConfig(num_codes=16, code_width=4),
    )
    priors = {"top": tiny_prior()} | {tier: tiny_upsampler(tier) for tier in ("middle", "bottom")}
    parts = {"vqvae.": vqvae_tensors(run.model)}
    parts |= {f"priors.{n}.": prior_tensors(model) for n, model in enumerate(priors.values())}
    tensors = {
        prefix + hugging_face_names.hugging_face_name(name): array
        for prefix, part in parts.items()
        for name, array in part.items()
    }
    checkpoint_files.write(folder / "model.safetensors", tensors)
    (folder / "artists.json").write_text(json.dumps({"alan_jackson.v2": 3}))
    (folder / "genres.json").write_text(json.dumps({"country.v2": 1, "rock.v2": 2}))
    jukebox.import_checkpoint(folder / "model.safetensors", folder / "out", configs={"vqvae": run} | priors)
    return str(folder / "out")


def vqvae_functional(model: config.VQVAEConfig) -> modules.Functional:
    return modules.Functional(lambda rngs: vqvae.VQVAE(model, rngs=rngs))


def vqvae_tensors(model: config.VQVAEConfig) -> dict[str, np.ndarray]:
    """{original name: array} of a VQ-VAE."""
    return draw(jukebox_vqvae.weights(model), native.abstract(vqvae_functional(model)))


def prior_tensors(model: config.JukeboxPriorConfig) -> dict[str, np.ndarray]:
    """{original name: array} of a prior."""
    functional = modules.Functional(lambda rngs: JukeboxPrior(model, rngs=rngs))
    return draw(jukebox_prior.weights(model), native.abstract(functional))


def draw(table: list[weight_table.Weight], abstract: weight_table.Tree) -> dict[str, np.ndarray]:
    """Normal values that keep a signal's size through a layer; tied weights are equal."""
    rng = np.random.default_rng(0)
    drawn, tensors = {}, {}
    for weight in sorted(table, key=lambda weight: weight.name):
        if weight.path not in drawn:
            shape = weight.published_shape(weight_table.leaf(abstract, weight.path).shape)
            scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1
            drawn[weight.path] = (scale * rng.standard_normal(shape)).astype(np.float32)
        tensors[weight.name] = drawn[weight.path]
    return tensors
