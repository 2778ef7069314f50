"""Memory of sampling from the published cascade, against figures computed by hand."""

import dataclasses
import json

import command_line
import pytest

from musicgen_jax import config
from musicgen_jax.conversion import jukebox_prior
from musicgen_jax.planning import cascade, workload


def shallow(name, num_layers=3):
    """A released prior of full width with three layers: one of each factored kind."""
    released = jukebox_prior.RELEASED[name]
    return dataclasses.replace(released, transformer=dataclasses.replace(released.transformer, num_layers=num_layers))


@pytest.fixture(scope="module")
def found():
    models = {"top": shallow("5b"), "middle": shallow("upsampler_middle")}
    return cascade.plan(models, "h100:1", 2)


def test_caches_are_keys_and_values_of_every_layer_in_float32(found):
    tiers = found["bytes_per_chip"]["tiers"]
    assert tiers["top"]["caches"] == 3 * 2 * 2 * 8192 * 1200 * 4
    assert tiers["middle"]["caches"] == 3 * 2 * 2 * 8192 * 480 * 4


def test_weights_of_all_priors_and_one_tiers_caches_are_there_together(found):
    sizes = found["bytes_per_chip"]
    top, middle = (sizes["tiers"][tier] for tier in ("top", "middle"))
    assert sizes["parameters"] == top["parameters"] + middle["parameters"] == 4 * found["parameters"]
    # What a prior is told is a vector of its width at every code, and a start.
    assert top["told"] == 2 * (8192 + 1) * 4800 * 4
    assert sizes["peak"] == sizes["parameters"] + top["caches"] + top["told"]
    assert found["fits"] and top["copies"] == middle["copies"] == 0


def test_layers_that_are_scanned_are_copied():
    """Six layers are three, twice: queries, keys, values and what is made of them, the MLP, biases and norms."""
    width, inner, hidden = 1920, 480, 1920
    layer = 4 * width * inner + 3 * inner + width + 2 * width * hidden + hidden + width + 4 * width
    sizes = cascade.plan({"bottom": shallow("upsampler_bottom", 6)}, "h100:1", 1)["bytes_per_chip"]
    tier = sizes["tiers"]["bottom"]
    assert tier["copies"] == 6 * 4 * layer
    assert sizes["peak"] == tier["parameters"] + tier["caches"] + tier["told"] + tier["copies"]


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="num_samples=0"):
        cascade.plan({"top": shallow("5b")}, "h100:1", 0)


@pytest.mark.long
def test_the_command():
    done = command_line.run("musicgen_jax.plan", "--sample=1b_lyrics", "--topology=h100:1")
    found = json.loads(done.stdout)
    assert 2.8e9 < found["parameters"] < 3.0e9 and found["fits"], done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the two"),
        (["--sample=5b", "--config=configs/prior.py"], "one of the two"),
        (["--sample=5b", "--num_slices=2"], "--num_slices: not of sampling"),
        (["--config=configs/prior.py", "--num_samples=2"], "--num_samples: not of training"),
    ],
)
def test_flags_of_the_other_way_are_one_line(arguments, message):
    done = command_line.run("musicgen_jax.plan", "--topology=h100:1", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr


def tiny_musicgen():
    """Two layers of the published kind."""
    transformer = config.MusicgenTransformerConfig(num_layers=2, width=64, num_heads=4, head_dim=16, mlp_width=128)
    run = config.MusicgenTraining(model=config.MusicgenConfig(context=100, transformer=transformer))
    run.training.compute_dtype = "bfloat16"
    return run


def test_a_musicgen_is_sampled_with_two_rows_and_a_copy_of_its_layers():
    found = cascade.plan_musicgen(tiny_musicgen(), "v5e:1x1", 3, rounded=False)
    sizes, rows, steps = found["bytes_per_chip"], 2 * 3, 100 + 3
    keys_and_values = rows * 2 * 2 * (steps + workload.TEXT_TOKENS) * 64 * 2  # of two layers, in 16 bits
    assert sizes["caches"] == keys_and_values + 2 * rows * workload.TEXT_TOKENS  # and which of the text's exist
    matrices, vectors = 2 * (8 * 64 * 64 + 2 * 64 * 128), 2 * 3 * 2 * 64
    assert sizes["copies"] == 2 * matrices + 4 * vectors
    assert sizes["parameters"] == 4 * found["parameters"]
    assert sizes["peak"] == sizes["parameters"] + sizes["caches"] + sizes["copies"] + sizes["told"]
    assert found["bound"] == "hbm" and found["fits"]
    small = cascade.plan_musicgen(tiny_musicgen(), "v5e:1x1", 3, rounded=True)["bytes_per_chip"]
    assert small["caches"] == sizes["caches"] and small["copies"] < 0.6 * sizes["copies"]
    with pytest.raises(ValueError, match="num_samples=0"):
        cascade.plan_musicgen(tiny_musicgen(), "v5e:1x1", 0, rounded=False)
