import numpy as np
import pytest

from musicgen_jax.sampling import sampler_settings


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "1.0", 1.0),
        ("temperature", "0.9~1.1", (0.9, 1.1)),
        ("top_p", "top:0.9,bottom:1", {"top": 0.9, "bottom": 1.0}),
        ("temperature", "top:0.9~1.1, middle:1.0", {"top": (0.9, 1.1), "middle": 1.0}),
        ("top_k", "20", 20),
        ("top_k", "top:20", {"top": 20}),
    ],
)
def test_parse(name, text, value):
    parsed = sampler_settings.parse(name, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", ["", "warm", "top:", ":1", "top:1,top:2", "1~2~3", "top:1;bottom:2", "nan", "1,2"])
def test_what_is_no_value(text):
    with pytest.raises(ValueError, match=r"temperature=.*temperature=top:1"):
        sampler_settings.parse("temperature", text)


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, r"temperature=0\.0: must be greater than 0"),
        ({"temperature": {"middle": (1.0, -1.0)}}, r"temperature=-1\.0: must be greater than 0"),
        ({"temperature": float("inf")}, r"temperature=inf"),
        ({"temperature": (1.0, 0.9, 0.8)}, r"temperature=\(1\.0, 0\.9, 0\.8\): must be one number, or two"),
        ({"top_p": 1.5}, r"top_p=1\.5: must be in \(0, 1\]"),
        ({"top_p": (0.9, 0.8)}, r"only the temperature changes"),
        ({"top_k": -1}, r"top_k=-1: must be 0 \(off\) or a whole number"),
        ({"top_k": {"top": 2.5}}, r"top_k=2\.5"),
        ({"guidance": -1.0}, r"guidance=-1\.0"),
    ],
)
def test_bad_values(changes, message):
    with pytest.raises(ValueError, match=message):
        sampler_settings.SamplingSettings(**changes).validate()
    sampler_settings.SamplingSettings(top_k=5, top_p=1.0, temperature=(0.1, 3.0)).validate()


def test_a_value_for_a_tier_that_is_not_sampled():
    with pytest.raises(ValueError, match=r"top_p has a value for bottom, but the tiers sampled are top, middle"):
        sampler_settings.require_sampled("top_p", {"top": 0.9, "bottom": 0.5}, ["top", "middle"])
    sampler_settings.require_sampled("top_p", {"top": 0.9}, ["top", "middle"])
    sampler_settings.require_sampled("top_p", 0.5, ["top"])
