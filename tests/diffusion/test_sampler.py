"""Parallel sampling: a known distribution, known codes, windows, and what the result may depend on."""

import dataclasses
import types
from typing import Any

import jax
import numpy as np
import pytest
import tiny_diffusion
import tiny_priors

from musicgen_jax.diffusion import sampler, trained_diffusion

MODEL = tiny_diffusion.model_config()
TRAINED = tiny_diffusion.trained_diffusion(MODEL)


def settings(shape: tuple[int, int], **changes: Any) -> types.SimpleNamespace:
    """Stands for `logits.Settings`."""
    rows = shape[0]
    values = {
        "temperature": np.ones(shape, np.float32),
        "top_p": np.ones(rows, np.float32),
        "top_k": np.zeros(rows, np.int32),
        "guidance": np.ones(rows, np.float32),
    }
    return types.SimpleNamespace(**values | changes)


def tracks(rows: int, num_codes: int, seed: int = 0, known: np.ndarray | bool = False) -> sampler.Tracks:
    rng = np.random.default_rng(seed)
    above = num_codes // MODEL.upsampling
    return sampler.Tracks(
        codes=rng.integers(0, MODEL.num_codes, (rows, num_codes)),
        known=np.broadcast_to(known, (rows, num_codes)),
        above=rng.integers(0, MODEL.num_codes, (rows, above)),
        labels=tiny_priors.labels(genre=rng.integers(0, 3, rows)),
        length=5 * num_codes,
    )


def sample(given: sampler.Tracks, steps: int = 3, model: Any = TRAINED, seed: int = 0, **options: Any) -> np.ndarray:
    keys = jax.random.split(jax.random.key(seed), len(given.codes))
    chosen = settings(given.codes.shape, **options.pop("settings", {}))
    return model.sample_codes(given, keys, chosen, steps, **options)


def frequencies(joint: np.ndarray, steps: int, known: np.ndarray | bool = False, **options: Any) -> np.ndarray:
    """How often every sequence is drawn from a table of a joint distribution."""
    rows = 4000
    given = dataclasses.replace(tracks(rows, joint.ndim, known=known), above=None)
    given.codes[...] = 1
    codes = sample(given, steps, tiny_diffusion.JointTable(joint).trained(), batch_size=rows, **options)
    return np.histogramdd(codes, bins=[np.arange(size + 1) - 0.5 for size in joint.shape])[0] / rows


def far(found: np.ndarray, expected: np.ndarray) -> float:
    """Total variation distance; about 0.03 for 4000 draws of 27 sequences."""
    return 0.5 * float(np.abs(found - expected).sum())


@pytest.mark.parametrize("position_order", ["spread", "random"])
def test_one_code_a_step_reproduces_a_joint_distribution(position_order):
    joint = tiny_diffusion.joint((3, 3, 3))
    assert far(frequencies(joint, 3, position_order=position_order), joint) < 0.06


def test_all_codes_in_one_step_have_its_marginals_and_are_independent():
    joint = tiny_diffusion.joint((3, 3, 3))
    marginals = [joint.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    independent = np.einsum("i,j,k->ijk", *marginals)
    found = frequencies(joint, 1)
    assert far(found, independent) < 0.06 < 0.1 < far(found, joint)


def test_what_is_known_conditions_the_rest():
    joint = tiny_diffusion.joint((3, 3, 3))
    found = frequencies(joint, 3, known=np.array([False, True, False]))
    expected = np.zeros_like(joint)
    expected[:, 1] = joint[:, 1] / joint[:, 1].sum()
    assert far(found, expected) < 0.06


def test_temperature_and_filters_apply():
    joint = tiny_diffusion.joint((3, 3, 3))
    only_one = frequencies(joint, 3, settings={"top_k": np.ones(4000, np.int32)})
    assert only_one.max() == 1
    cold = frequencies(joint, 3, settings={"temperature": np.full((4000, 3), 1e-3, np.float32)})
    np.testing.assert_array_equal(cold, only_one)


@pytest.mark.long
@pytest.mark.parametrize(("num_codes", "steps"), [(12, 4), (8, 4), (56, 4), (56, 12), (20, 1)])
def test_known_codes_never_change(num_codes, steps):
    known = np.random.default_rng(1).random((2, num_codes)) < 0.5
    given = tracks(2, num_codes, known=known)
    found = sample(given, steps)
    assert found.shape == (2, num_codes) and found.dtype == np.int32
    np.testing.assert_array_equal(found[known], given.codes[known])
    assert np.all((found >= 0) & (found < MODEL.num_codes))
    everything = dataclasses.replace(given, known=np.ones_like(known))
    np.testing.assert_array_equal(sample(everything, steps), given.codes)


def test_windows_without_anything_to_draw_are_left_out(monkeypatch):
    given = tracks(1, 56, known=np.arange(56)[None] < 40)
    drawn, unmask = [], sampler.make_unmask(TRAINED.functional, 3)
    count = lambda weights, batch, *rest: drawn.append(batch["start"]) or unmask(weights, batch, *rest)  # noqa: E731
    monkeypatch.setattr(sampler, "make_unmask", lambda *_: count)
    sample(given)
    plan = [starts for starts in sampler.rounds(56, 12, 4) if any(start + 12 > 40 for start in starts)]
    assert len(drawn) == len(plan) and all(start.min() + 12 > 40 for start in drawn)


@pytest.mark.parametrize("num_codes", [4, 8, 40])
def test_rounds_of_windows_of_one_code_above(num_codes):
    plan = sampler.rounds(num_codes, 4, 4)
    assert sorted(start for starts in plan for start in starts) == list(range(0, num_codes, 4))


def test_what_stands_where_no_code_is_known_means_nothing():
    known = np.arange(40) < 13
    one, other = tracks(2, 40, known=known), tracks(2, 40, known=known)
    other.codes[:, 13:] = 7
    np.testing.assert_array_equal(sample(one), sample(other))


def test_a_track_depends_on_its_own_key_alone():
    given = tracks(3, 56)
    whole = sample(given, batch_size=64)
    np.testing.assert_array_equal(sample(given, batch_size=2), whole)
    assert np.any(sample(given, seed=1) != whole)
    keys = jax.random.split(jax.random.key(0), 3)
    for row in range(3):
        part = {name: getattr(given, name)[row : row + 1] for name in ("codes", "known", "above", "labels")}
        alone = dataclasses.replace(given, **part)
        found = TRAINED.sample_codes(alone, keys[row : row + 1], settings((1, 56)), 3)
        np.testing.assert_array_equal(found[0], whole[row])


def test_one_program_for_all_settings_of_a_number_of_steps():
    given = tracks(2, 12)
    sample(given, 5)
    compiled = sampler.make_unmask(TRAINED.functional, 5)
    count = compiled._cache_size()
    sample(dataclasses.replace(given, known=np.arange(24).reshape(2, 12) % 5 == 0), 5, seed=4)
    sample(given, 5, settings={"top_p": np.full(2, 0.5, np.float32)})
    sample(tracks(2, 8), 5)
    assert compiled._cache_size() == count == 1


@pytest.mark.parametrize("num_codes", [4, 12, 16, 20, 24, 36, 40, 44, 100, 404])
@pytest.mark.parametrize("upsampling", [0, 4])
def test_rounds_cover_all_codes_and_never_draw_one_twice(num_codes, upsampling):
    plan = sampler.rounds(num_codes, 12, upsampling)
    assert len(plan) <= 2 or not upsampling
    known = np.zeros(num_codes, bool)
    for starts in plan:
        drawn = np.zeros(num_codes, int)
        for start in starts:
            assert start >= 0 and start % max(upsampling, 1) == 0 and start < num_codes
            drawn[start : start + 12] += ~known[start : start + 12]
        assert drawn.max() == 1  # windows of one round do not share codes that they draw
        known |= drawn > 0
    assert known.all()


def test_bridges_see_known_codes_on_both_sides():
    islands, bridges = sampler.rounds(10_000, 256, 4)
    known = np.zeros(10_000, bool)
    for start in islands:
        known[start : start + 256] = True
    for start in bridges[:-1]:
        assert known[start : start + 32].all() and known[start + 224 : start + 256].all()
        assert not known[start + 32 : start + 224].any()


@pytest.mark.parametrize("steps", [0, -1, 13])
def test_steps_out_of_range(steps):
    with pytest.raises(ValueError, match=f"steps={steps}: must be from 1 to the 12 codes of a window"):
        sample(tracks(1, 12), steps)


def test_other_bad_input():
    with pytest.raises(ValueError, match="position_order='left': must be one of spread, random"):
        sample(tracks(1, 12), position_order="left")
    with pytest.raises(ValueError, match="guidance: the diffusion sampler has none"):
        sample(tracks(1, 12), settings={"guidance": np.full(1, 2.0, np.float32)})


def test_a_model_says_what_it_is():
    assert TRAINED.sampler == "diffusion"
    assert trained_diffusion.TrainedDiffusion.__mro__[1].sampler == "autoregressive"
