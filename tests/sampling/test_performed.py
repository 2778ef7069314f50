"""Scores that samples perform: what the models are told of them in each window, and that it counts."""

import dataclasses

import numpy as np
import pytest
import tiny_diffusion
import tiny_layouts
import tiny_priors

from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import hierarchy, performed, requests, tier_sampler
from musicgen_jax.scores.score import Score

LAYOUT = tiny_layouts.of_vqvae()  # 10, 40 and 160 codes a second
TOLD = {"num_layers": 1, "score": True, "score_dropout": 0.1, "score_ahead": 0.2, "score_notes": 4}


def score_of(*pitches: int, seconds: float = 0.4) -> Score:
    """One note after the other."""
    return Score([[pitch, seconds * place, seconds, 80, 0] for place, pitch in enumerate(pitches)])


SCORES = performed.Scores("two", (score_of(60, 62, 64, 65), score_of(70, 71)))


@pytest.fixture(scope="module")
def priors():
    """Of the top and the middle, both told the score; the middle one a diffusion model."""
    return {
        "top": tiny_priors.trained_prior(tiny_priors.model_config("top", **TOLD)),
        "middle": tiny_diffusion.trained_diffusion(tiny_diffusion.model_config("middle", **TOLD)),
    }


@pytest.fixture(scope="module")
def request_():
    return requests.Request(seconds=2.4, num_samples=3, seed=7, sampler="diffusion", steps=2)


def test_windows_are_told_what_sounds_in_them():
    model = tiny_priors.model_config("middle", **TOLD)  # 12 frames of 25 ms, and 200 ms ahead
    rows, start = np.array([0, 1, 2, 0]), np.array([0, 0, 20, 1000], np.int32)
    found = performed.of_windows(model, SCORES, rows, start)
    assert found["notes"].shape == (4, 16, 5) and found["notes"].dtype == np.float32
    assert found["scored"].tolist() == [True] * 4
    sounding = found["notes"][..., 2] > 0
    assert sounding.sum(axis=1).tolist() == [2, 2, 2, 0]
    np.testing.assert_allclose(found["notes"][2, :2, :3], [[62, -0.1, 0.4], [64, 0.3, 0.4]], atol=1e-6)
    assert found["notes"][1, :2, 0].tolist() == [70, 71]
    nothing = performed.of_windows(model, None, rows, start)
    assert not nothing["scored"].any() and not nothing["notes"].any()
    assert performed.of_windows(tiny_priors.model_config("middle"), SCORES, rows, start) == {}


def test_a_dense_score_is_told_whole():
    """Denser than anything in the training data."""
    dense = performed.Scores("dense", (score_of(*range(30, 110), seconds=0.005),))
    found = performed.of_windows(
        tiny_priors.model_config("middle", **TOLD), dense, np.zeros(1, int), np.zeros(1, np.int32)
    )
    assert (found["notes"][0, :, 2] > 0).sum() == 80


@pytest.mark.long
def test_samples_follow_their_scores(priors, request_):
    codes = hierarchy.sample_codes(LAYOUT, priors, request_, scores=SCORES)
    # Sample 2 plays the first score again, with random numbers of its own.
    assert np.any(codes["top"][0] != codes["top"][2])
    other = performed.Scores("other", (SCORES.pieces[0], score_of(50, 51)))
    changed = hierarchy.sample_codes(LAYOUT, priors, request_, scores=other)
    for tier in codes:
        np.testing.assert_array_equal(changed[tier][::2], codes[tier][::2])
        assert np.any(changed[tier][1] != codes[tier][1])
    unknown = hierarchy.sample_codes(LAYOUT, priors, request_)
    assert all(np.any(unknown[tier] != codes[tier]) for tier in codes)


@pytest.mark.long
def test_the_future_beyond_the_look_ahead_does_not_matter(priors, request_):
    top, request = {"top": priors["top"]}, dataclasses.replace(request_, sampler="autoregressive", steps=None)
    request = dataclasses.replace(request, num_samples=8)
    short = score_of(60, 62, 64)
    long = Score([*short.notes, *([pitch, 1.2, 1.2, 80, 1] for pitch in (70, 75, 79))])
    both = (performed.Scores("", (score,)) for score in (long, short))
    first, second = (hierarchy.sample_codes(LAYOUT, top, request, scores=scores)["top"] for scores in both)
    differs = np.flatnonzero(np.any(first != second, axis=(0, 2)))
    assert differs.size and differs[0] >= 10  # the chord begins at 1.2 s, and is told from 1.0 s on


@pytest.mark.long
def test_no_score_is_the_hidden_one(priors, request_):
    prior = priors["top"]
    batch = tier_sampler.window_batch(
        prior, request_, np.ones((1, 24, 1), np.int32), None, np.zeros(1, int), np.zeros(1, np.int32)
    )
    module = prior.functional.bind(*prior.weights)
    told = batch | performed.of_windows(prior.config, SCORES, np.zeros(1, int), np.zeros(1, np.int32))
    hidden = module.condition(told, {"score": np.array([True])}).added
    np.testing.assert_array_equal(module.condition(batch).added, hidden)
    assert np.abs(module.condition(told).added - hidden).max() > 0.1


def test_what_cannot_be_performed_is_told_before(priors, request_):
    request_.validate(LAYOUT, priors, None, SCORES)
    request_.validate(LAYOUT, priors)
    deaf = {"top": tiny_priors.trained_prior(tiny_priors.model_config("top", num_layers=1))}
    request = dataclasses.replace(request_, sampler="autoregressive", steps=None)
    with pytest.raises(UserError, match="score=two: none of the priors that are sampled is told the score"):
        request.validate(LAYOUT, deaf, None, SCORES)
    with pytest.raises(UserError, match="num_samples=1: two holds 2 scores: pass as many or more"):
        dataclasses.replace(request_, num_samples=1).validate(LAYOUT, priors, None, SCORES)
    always = tiny_priors.trained_prior(tiny_priors.model_config("top", **TOLD | {"score_dropout": 0.0}))
    with pytest.raises(UserError, match="the top prior was never trained without a score: pass one"):
        request.validate(LAYOUT, {"top": always})
    assert SCORES.digest != performed.Scores("two", SCORES.pieces[:1]).digest
    assert (SCORES.seconds, len(SCORES.digest)) == (pytest.approx(1.6), 16)
