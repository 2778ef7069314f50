import dataclasses

import numpy as np
import pytest
import tiny_diffusion
import tiny_layouts
import tiny_priors

from musicgen_jax.runtime import files
from musicgen_jax.sampling import hierarchy, journals, prompts, requests

LAYOUT = tiny_layouts.of_vqvae()  # 10, 40 and 160 codes a second
REQUEST = requests.Request(seconds=1.6, num_samples=2, seed=7, genres=("oboe",), sampler="diffusion", steps=3)


@pytest.fixture(scope="module")
def models():
    """An autoregressive prior at the top, a diffusion model in the middle."""
    return {
        "top": tiny_priors.trained_prior(tiny_priors.model_config("top", num_layers=1)),
        "middle": tiny_diffusion.trained_diffusion(tiny_diffusion.model_config("middle", num_layers=1)),
    }


@pytest.fixture(scope="module")
def codes(models):
    return hierarchy.sample_codes(LAYOUT, models, REQUEST)


def test_both_ways_in_one_hierarchy(models, codes):
    assert codes["middle"].shape == (2, 64, 1) and codes["middle"].dtype == np.int32
    alone = hierarchy.sample_codes(
        LAYOUT, {"top": models["top"]}, dataclasses.replace(REQUEST, sampler="autoregressive")
    )
    np.testing.assert_array_equal(alone["top"], codes["top"])
    assert len(np.unique(codes["middle"])) > 3 and np.any(codes["middle"][0] != codes["middle"][1])


@pytest.mark.long
def test_what_decides_the_codes(models, codes):
    def middle(**changes):
        return hierarchy.sample_codes(LAYOUT, models, dataclasses.replace(REQUEST, **changes))["middle"]

    np.testing.assert_array_equal(middle(batch_size=1), codes["middle"])
    np.testing.assert_array_equal(middle(num_samples=1), codes["middle"][:1])
    for changes in ({"genres": ("organ",)}, {"seed": 8}, {"total_seconds": 8.0}):
        assert np.any(middle(**changes) != codes["middle"]), changes


def test_a_prompt_stays(models, codes):
    start = prompts.Prompt("p", {tier: array[:, : array.shape[1] // 2] for tier, array in codes.items()}, 0.8)
    continued = dataclasses.replace(REQUEST, mode="continue", seed=3)
    got = hierarchy.sample_codes(LAYOUT, models, continued, start)
    np.testing.assert_array_equal(got["middle"][:, :32], codes["middle"][:, :32])
    assert np.any(got["middle"][:, 32:] != codes["middle"][:, 32:])


def test_the_journal_keeps_the_tier(models, codes, tmp_path):
    def journal():
        return journals.Journal(tmp_path, {})

    hierarchy.Hierarchy(LAYOUT, models, REQUEST, journal=journal()).complete()
    path = tmp_path / ".musicgen_jax.partial" / "middle.npz"
    kept = files.read_arrays(path)["codes"]
    np.testing.assert_array_equal(kept, codes["middle"])
    np.savez(path, codes=kept * 0)
    again = hierarchy.Hierarchy(LAYOUT, models, REQUEST, journal=journal()).complete()
    assert np.all(again["middle"] == 0)


def test_the_first_finer_code_needs_all_of_the_tier_above(models):
    lazy = hierarchy.Hierarchy(LAYOUT, models, REQUEST, show_progress=False)
    lazy.require("middle", 1)
    assert (lazy.done("top"), lazy.done("middle")) == (16, 64)


def test_guidance_is_refused(models):
    guided = dataclasses.replace(REQUEST, settings=requests.sampler_settings.SamplingSettings(guidance={"middle": 2.0}))
    with pytest.raises(ValueError, match=r"guidance=2\.0: the diffusion model of the middle tier has none; use 1"):
        guided.validate(LAYOUT, models)
