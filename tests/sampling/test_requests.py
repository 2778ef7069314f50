import numpy as np
import pytest
import tiny_layouts
import tiny_priors

from musicgen_jax.priors import trained
from musicgen_jax.sampling import prompts, requests, sampler_settings

LAYOUT = tiny_layouts.of_vqvae()  # 10, 40 and 160 codes a second


@pytest.fixture(scope="module")
def priors():
    return {tier: tiny_priors.trained_prior(tiny_priors.model_config(tier, num_layers=1)) for tier in ("top", "middle")}


def prompt(seconds=0.5, tiers=("top", "middle"), pieces=1):
    ratios = {"top": 1, "middle": 4, "bottom": 16}
    codes = {tier: np.zeros((pieces, round(10 * seconds) * ratios[tier], 1), np.int32) for tier in tiers}
    return prompts.Prompt("p.codes", codes, seconds)


def check(priors, start, **changes):
    requests.Request(**({"seconds": 1.0} | changes)).validate(LAYOUT, priors, start)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 0.0}, r"seconds=0\.0: must be greater than 0"),
        ({"seconds": -1.0}, r"seconds=-1\.0: must be greater than 0"),
        ({"seconds": float("nan")}, r"seconds=nan"),
        ({"seconds": float("inf")}, r"seconds=inf"),
        ({"num_samples": 0}, r"num_samples=0: must be at least 1"),
        ({"batch_size": 0}, r"batch_size=0: must be at least 1"),
        ({"hop_fraction": 0.0}, r"hop_fraction=0\.0: must be in \(0, 1\]"),
        ({"total_seconds": 0.5}, r"total_seconds=0\.5: must be 0 or at least seconds=1\.0"),
        ({"total_seconds": float("inf")}, r"total_seconds=inf"),
        ({"seed": -1}, r"seed=-1: must be from 0 to 4294967295"),
        ({"seed": 2**32}, r"seed=4294967296: must be from 0 to 4294967295"),
        ({"genres": ("organ", "kazoo")}, r"genre=kazoo: unknown genre; .* unknown, oboe, organ"),
        ({"artist": "nobody"}, r"artist=nobody: unknown artist"),
        ({"settings": sampler_settings.SamplingSettings(top_p=0.0)}, r"top_p=0\.0: must be in \(0, 1\]"),
        ({"settings": sampler_settings.SamplingSettings(top_k={"bottom": 3})}, r"top_k has a value for bottom"),
        ({"hop_fraction": {"top": 0.5, "middle": 2.0}}, r"hop_fraction=2\.0: must be in"),
        ({"hop_fraction": (0.5, 0.6)}, r"hop_fraction=.*only the temperature changes"),
        ({"mode": "dreaming"}, r"mode=dreaming: must be one of ancestral, continue, primed, upsample"),
        ({"mode": "continue"}, r"mode=continue needs prompt"),
        ({"sampler": "guess"}, r"sampler=guess: must be one of autoregressive, diffusion"),
        ({"sampler": "diffusion"}, r"none of the models sampled is a diffusion model"),
        ({"steps": 8}, r"steps=8 goes with sampler=diffusion"),
        (
            {"parallel_windows": True, "batch_size": 8, "num_samples": 4},
            r"8 windows at a time, for 4 samples that move on by 0\.5 contexts.*batch_size=12 or more",
        ),
        (
            {"settings": sampler_settings.SamplingSettings(guidance={"middle": 2.0})},
            r"guidance=2\.0: the middle prior was never trained without labels.*label_dropout=0\.1",
        ),
    ],
)
def test_bad_requests(priors, changes, message):
    request = requests.Request(**({"seconds": 1.0} | changes))
    with pytest.raises(ValueError, match=message):
        request.validate(LAYOUT, priors)


def test_another_tokenizer_is_refused(priors):
    with pytest.raises(ValueError, match=r"top: this prior was trained on codes of VQ-VAE f00d, but vqvae is beef"):
        requests.Request(seconds=1.0).validate(tiny_layouts.of_vqvae(fingerprint="beef"), priors)


def test_a_tier_needs_the_one_above(priors):
    bottom = tiny_priors.trained_prior(tiny_priors.model_config("bottom"))
    with pytest.raises(ValueError, match=r"bottom needs middle"):
        requests.Request(seconds=1.0).validate(LAYOUT, {"top": priors["top"], "bottom": bottom})
    requests.Request(seconds=1.0, genres=("organ",)).validate(LAYOUT, priors)


@pytest.mark.parametrize(
    ("start", "changes", "message"),
    [
        (prompt(), {}, r"mode=ancestral starts from nothing; prompt goes with mode=continue, primed, upsample"),
        (prompt(1.0), {"mode": "continue"}, r"p.codes has 1 s, and seconds=1, prompt included, leaves nothing"),
        (prompt(2.0), {"mode": "primed"}, r"p.codes has 2 s, and seconds=1, prompt included, leaves nothing"),
        (prompt(0.5), {"mode": "upsample"}, r"p.codes has 0.5 s, and seconds=1: pass fewer seconds or a longer"),
        (
            prompt(tiers=("top",)),
            {"mode": "continue"},
            r"p.codes has codes of top only; mode=continue needs middle: .* or mode=primed",
        ),
        (prompt(tiers=("middle",)), {"mode": "primed"}, r"p.codes has codes of middle only; mode=primed needs top"),
        (prompt(pieces=3), {"mode": "continue", "num_samples": 2}, r"num_samples=2: p.codes holds 3 pieces"),
    ],
)
def test_bad_prompts(priors, start, changes, message):
    with pytest.raises(ValueError, match=message):
        check(priors, start, **changes)


def test_guidance_of_a_prior_that_has_seen_windows_without_labels():
    top = tiny_priors.trained_prior(tiny_priors.model_config("top", num_layers=1, label_dropout=0.1))
    check({"top": top}, None, settings=sampler_settings.SamplingSettings(guidance=2.0))


def test_guidance_by_a_condition_needs_windows_without_it():
    top = tiny_priors.trained_prior(tiny_priors.model_config("top", num_layers=1, timing_dropout=0.1))
    guided = sampler_settings.SamplingSettings(guidance=2.0)
    check({"top": top}, None, settings=guided, guide_by=("timing",))
    for name, message in (
        ("labels", "never trained without labels"),
        ("above", r"never trained without above.*above_dropout=0\.1"),
        ("tempo", "guide_by=tempo: must be one of labels, timing, above"),
    ):
        with pytest.raises(ValueError, match=message):
            check({"top": top}, None, settings=guided, guide_by=("timing", name))


def test_a_prior_that_is_not_sampled_need_not_know_the_words(priors):
    deaf = {"top": tiny_priors.trained_prior(tiny_priors.model_config("top", num_layers=1, genres=("unknown",)))}
    check(priors | deaf, prompt(1.0), mode="upsample", genres=("organ",))
    with pytest.raises(ValueError, match="genre=organ: unknown genre"):
        check(priors | deaf, None, genres=("organ",))


def test_parallel_windows_need_an_upsampler(priors):
    with pytest.raises(ValueError, match="parallel_windows needs a middle or bottom prior"):
        check({"top": priors["top"]}, None, parallel_windows=True)
    check(priors, None, parallel_windows=True, num_samples=10)
    check(priors, None, parallel_windows=True, num_samples=8, batch_size=24)


def test_good_prompts(priors):
    for mode in ("continue", "primed"):
        check(priors, prompt(0.9), mode=mode)
        check(priors, prompt(0.9, pieces=2), mode=mode, num_samples=3)
    check(priors, prompt(0.9, ("top",)), mode="primed")
    check(priors, prompt(1.0, ("top",)), mode="upsample")
    check(priors, prompt(30.0), mode="continue", seconds=31.0)  # longer than the context of 12 codes


def test_upsampling_begins_below_any_tier(priors):
    bottom = tiny_priors.trained_prior(tiny_priors.model_config("bottom", num_layers=1))
    check({"bottom": bottom}, prompt(1.0), mode="upsample")
    with pytest.raises(ValueError, match=r"codes of top only; mode=upsample needs middle"):
        check({"bottom": bottom}, prompt(1.0, ("top",)), mode="upsample")
    with pytest.raises(ValueError, match=r"mode=upsample samples no tier of top: pass finer priors"):
        check({"top": priors["top"]}, prompt(1.0), mode="upsample")
    with pytest.raises(ValueError, match=r"middle needs top"):
        check({"middle": priors["middle"]}, None)


def test_lengths_are_whole_codes_of_the_top_tier():
    def num_top(seconds):
        return requests.Request(seconds=seconds).num_frames(LAYOUT, "top")

    assert [num_top(seconds) for seconds in (0.01, 0.1, 1.55, 8.0)] == [1, 1, 16, 80]
    for codes in range(1, 2000):  # seconds that a number of codes has give that number
        assert num_top(codes * 128 / 1280) == codes
    assert requests.Request(seconds=1.55).num_frames(LAYOUT, "bottom") == 16 * 16


class Diffusion(trained.TrainedPrior):
    sampler, windowed, distilled_steps = "diffusion", False, 0


def test_diffusion_models_and_steps(priors):
    both = priors | {"middle": Diffusion(**vars(priors["middle"]))}
    check(both, None, sampler="diffusion")
    check(both, None, sampler="diffusion", steps=12)
    assert [requests.Request(seconds=1.0, steps=steps).num_steps(4) for steps in (None, 16)] == [4, 16]
    for steps in (0, -1, 13):
        with pytest.raises(ValueError, match=rf"steps={steps}: must be from 1 to the 12 codes of a window"):
            check(both, None, sampler="diffusion", steps=steps)
    with pytest.raises(ValueError, match=r"middle: a diffusion model; pass sampler=diffusion"):
        check(both, None)
