"""Memory of sampling from the published cascade, against figures computed by hand."""

import dataclasses

import pytest

from musicgen_jax.conversion import jukebox_prior
from musicgen_jax.planning import cascade


def shallow(name):
    """A released prior of full width with three layers: one of each factored kind."""
    released = jukebox_prior.RELEASED[name]
    return dataclasses.replace(released, transformer=dataclasses.replace(released.transformer, num_layers=3))


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
    assert found["fits"]


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="--num_samples=0"):
        cascade.plan({"top": shallow("5b")}, "h100:1", 0)
