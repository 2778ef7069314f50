import numpy as np
import pytest

from musicgen_jax.sampling import sampler_settings


def test_a_value_by_tier_leaves_the_others_at_the_default():
    chosen = sampler_settings.SamplingSettings(temperature={"top": 0.5}, top_p=0.7)
    assert [chosen.of("temperature", tier) for tier in ("top", "middle")] == [0.5, 1.0]
    assert [chosen.of("top_p", tier) for tier in ("top", "middle")] == [0.7, 0.7]


def test_arrays_follow_the_place_in_the_track():
    places = np.array([[0, 1, 2], [8, 9, 10]])
    got = sampler_settings.SamplingSettings(temperature={"middle": (1.0, 2.0)}, top_k=3).arrays("middle", places, 11)
    np.testing.assert_allclose(got.temperature, [[1.0, 1.1, 1.2], [1.8, 1.9, 2.0]], rtol=1e-6)
    assert (got.temperature.dtype, got.top_p.dtype, got.top_k.dtype) == (np.float32, np.float32, np.int32)
    np.testing.assert_allclose(got.top_p, [0.9, 0.9], rtol=1e-6)
    assert got.top_k.tolist() == [3, 3] and got.guidance.tolist() == [1, 1]
    # Behind the end, where a window may reach, the last value holds.
    behind = sampler_settings.SamplingSettings(temperature=(1.0, 2.0)).arrays("top", np.array([[10, 11, 30]]), 11)
    np.testing.assert_allclose(behind.temperature, [[2.0, 2.0, 2.0]])
    one = sampler_settings.SamplingSettings(temperature=(1.0, 2.0)).arrays("top", np.array([[0]]), 1)
    np.testing.assert_allclose(one.temperature, [[1.0]])


def test_a_value_for_a_tier_that_is_not_sampled():
    with pytest.raises(ValueError, match=r"top_p has a value for bottom, but the tiers sampled are top, middle"):
        sampler_settings.require_sampled("top_p", {"top": 0.9, "bottom": 0.5}, ["top", "middle"])
    sampler_settings.require_sampled("top_p", {"top": 0.9}, ["top", "middle"])
    sampler_settings.require_sampled("top_p", 0.5, ["top"])
