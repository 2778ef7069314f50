"""Which arrays a published prior's file has, and which prior a file is."""

import dataclasses

import numpy as np
import pytest
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conversion import jukebox_prior, weight_table
from musicgen_jax.nn import modules
from musicgen_jax.priors import jukebox


def abstract_of(model: config.JukeboxPriorConfig) -> modules.Tree:
    functional = modules.Functional(lambda rngs: jukebox.JukeboxPrior(model, rngs=rngs))
    return {"params": nnx.to_pure_dict(functional.abstract_params)}


def shallow(name: str) -> config.JukeboxPriorConfig:
    """A released prior with a few of its layers, the rest in published size."""
    released = jukebox_prior.RELEASED[name]
    layers = {"5b_lyrics": 19, "1b_lyrics": 4}.get(name, 3)
    return dataclasses.replace(
        released,
        transformer=dataclasses.replace(released.transformer, num_layers=layers),
        lyric_encoder=dataclasses.replace(released.lyric_encoder, num_layers=2),
    )


def shapes_of(model: config.JukeboxPriorConfig, abstract: modules.Tree) -> dict[str, tuple[int, ...]]:
    table = jukebox_prior.weights(model)
    return {weight.name: weight.published_shape(weight_table.leaf(abstract, weight.path).shape) for weight in table}


@pytest.fixture(scope="module", params=list(jukebox_prior.RELEASED))
def released(request):
    """(name, shallow config, its abstract parameters)."""
    model = shallow(request.param)
    return request.param, model, abstract_of(model)


def test_every_parameter_has_a_name_and_every_name_a_parameter(released):
    _, model, abstract = released
    flat = nnx.traversals.flatten_mapping(abstract)
    assert {weight.path for weight in jukebox_prior.weights(model)} == set(flat)
    names = [weight.name for weight in jukebox_prior.weights(model)]
    assert len(names) == len(set(names))


def test_a_released_file_is_recognised(released):
    _, model, abstract = released
    found = jukebox_prior.infer_config(shapes_of(model, abstract), tier=model.tier)
    if model.lyrics != "encoder":  # sizes of an encoder that is not there
        found = dataclasses.replace(found, lyric_encoder=model.lyric_encoder)
    assert found == model


# The figures of the published files: a tied output matrix counts as often as it is there.
COUNTS = {
    "upsampler_bottom": 985_230_336,
    "upsampler_middle": 985_230_336,
    "5b": 5_060_452_800,
    "5b_lyrics": 5_640_506_800,
    "1b_lyrics": 946_999_296,
}


def test_parameters_of_the_released_models(released):
    """Layers of one pattern are equal, so that those which are missing here can be counted without being built."""
    name, model, abstract = released
    full = jukebox_prior.RELEASED[name]
    per_layer: dict[str, int] = {}
    rest = 0
    for key, shape in shapes_of(model, abstract).items():
        stack, found, layer = key.partition(".transformer._attn_mods.")
        if found:
            number = layer.partition(".")[0]
            per_layer[f"{stack}.{number}"] = per_layer.get(f"{stack}.{number}", 0) + int(np.prod(shape))
        else:
            rest += int(np.prod(shape))
    crosses = 7 if full.lyrics == "encoder" else 0
    total = rest + (full.transformer.num_layers - crosses) * per_layer["prior.0"]
    total += crosses * per_layer.get("prior.18", 0)
    total += full.lyric_encoder.num_layers * per_layer.get("prime_prior.0", 0)
    assert total == COUNTS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_parameters_of_the_released_models_built_whole(name):
    model = jukebox_prior.RELEASED[name]
    shapes = shapes_of(model, abstract_of(model))
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == COUNTS[name]
    assert jukebox_prior.infer_config(shapes, tier=model.tier) == model


def test_some_published_names_and_layouts():
    """Names and shapes written down from the released files."""
    model = shallow("upsampler_middle")
    shapes = shapes_of(model, abstract_of(model))
    known = {
        "prior.x_emb.weight": (2048, 1920),
        "prior.x_out.weight": (2048, 1920),
        "prior.pos_emb.pos_emb": (8192, 1920),
        "prior.transformer._attn_mods.2.attn.c_attn.w": (1920, 1440),
        "prior.transformer._attn_mods.2.attn.c_proj.b": (1920,),
        "prior.transformer._attn_mods.0.mlp.c_fc.w": (1920, 1920),
        "prior.transformer._attn_mods.0.ln_1.bias": (1920,),
        "y_emb.bow_genre_emb.emb.weight": (120, 1920),
        "conditioner_blocks.0.x_emb.weight": (2048, 1920),
        "conditioner_blocks.0.cond.model.0.weight": (1024, 1920, 3),
        "conditioner_blocks.0.cond.model.1.0.blocks.15.model.1.weight": (1024, 1024, 3),
        "conditioner_blocks.0.cond.model.1.0.blocks.15.model.3.weight": (1024, 1024, 1),
        "conditioner_blocks.0.cond.model.1.1.weight": (1024, 1024, 4),
        "conditioner_blocks.0.cond.model.2.1.weight": (1024, 1920, 4),
        "conditioner_blocks.0.cond.model.2.1.bias": (1920,),
        "conditioner_blocks.0.ln.weight": (1920,),
    }
    assert {name: shapes.get(name) for name in known} == known


@pytest.mark.parametrize(
    ("shapes", "tier", "message"),
    [
        ({"encoders.0.level_blocks.0.model.0.0.weight": (32, 1, 4)}, "top", "holds no prior"),
        ({"prior.x_emb.weight": (2048, 4800)}, "middle", "tier=middle.*must be top"),
        (
            {"prior.x_emb.weight": (2048, 1920), "conditioner_blocks.0.x_emb.weight": (2048, 1920)},
            "top",
            "tier=top.*must be middle or bottom",
        ),
    ],
)
def test_a_file_that_is_not_that_prior_is_refused(shapes, tier, message):
    with pytest.raises(ValueError, match=message):
        jukebox_prior.infer_config(shapes, tier=tier)
