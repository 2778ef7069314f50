import dataclasses

import jax
import numpy as np
import pytest
import tiny_layouts
import tiny_priors

from musicgen_jax.sampling import decode, hierarchy, prompts, requests, sampler_settings

LAYOUT = tiny_layouts.of_vqvae()  # 10, 40 and 160 codes a second
ALL = sampler_settings.SamplingSettings(top_p=1.0)


@pytest.fixture(scope="module")
def priors():
    return {
        tier: tiny_priors.trained_prior(tiny_priors.model_config(tier, num_layers=1), seed=index)
        for index, tier in enumerate(("top", "middle"))
    }


@pytest.fixture(scope="module")
def request_():
    """Two windows of the top prior, seven of the middle one."""
    return requests.Request(seconds=1.55, num_samples=3, seed=7, settings=ALL, batch_size=3)


@pytest.fixture(scope="module")
def codes(priors, request_):
    return hierarchy.sample_codes(LAYOUT, priors, request_)


def test_lengths_and_types(codes):
    assert list(codes) == ["top", "middle"]
    assert codes["top"].shape == (3, 16, 1)  # 15.5 codes, rounded up
    assert codes["middle"].shape == (3, 64, 1)
    for tier_codes in codes.values():
        assert tier_codes.dtype == np.int32
        assert tier_codes.min() >= 0
        assert tier_codes.max() < tiny_priors.NUM_CODES
        assert len(np.unique(tier_codes, axis=0)) == 3


@pytest.mark.parametrize("batch_size", [1, 2])
def test_same_seed_same_codes_whatever_the_batch(priors, request_, codes, batch_size):
    again = hierarchy.sample_codes(LAYOUT, priors, dataclasses.replace(request_, batch_size=batch_size))
    for tier in codes:
        np.testing.assert_array_equal(again[tier], codes[tier])


def test_a_sample_does_not_depend_on_how_many_there_are(priors, request_, codes):
    alone = hierarchy.sample_codes(LAYOUT, priors, dataclasses.replace(request_, num_samples=1))
    np.testing.assert_array_equal(alone["middle"][0], codes["middle"][0])


def test_another_seed_gives_other_codes(priors, request_, codes):
    other = hierarchy.sample_codes(LAYOUT, priors, dataclasses.replace(request_, seed=8))
    for tier in codes:
        assert np.mean(other[tier] != codes[tier]) > 0.5


def test_samples_take_the_genres_by_turns(priors, request_, codes):
    mixed = hierarchy.sample_codes(LAYOUT, priors, dataclasses.replace(request_, genres=("oboe", "organ")))
    whole = {
        genre: hierarchy.sample_codes(LAYOUT, priors, dataclasses.replace(request_, genres=(genre,)))
        for genre in ("oboe", "organ")
    }
    for sample in range(request_.num_samples):
        genre = ("oboe", "organ")[sample % 2]
        np.testing.assert_array_equal(mixed["top"][sample], whole[genre]["top"][sample])


def test_the_genre_matters(priors, request_, codes):
    other = hierarchy.sample_codes(LAYOUT, priors, dataclasses.replace(request_, genres=("organ",)))
    assert np.any(other["top"] != codes["top"])


def test_a_longer_request_and_another_setting_compile_nothing(priors, request_, codes):
    sample_window = decode.make_sample_window(priors["top"].functional)
    compiled = sample_window.num_programs()
    longer = dataclasses.replace(
        request_, seconds=4.0, hop_fraction=0.25, settings=sampler_settings.SamplingSettings(0.7, 0.8, 5)
    )
    sampled = hierarchy.sample_codes(LAYOUT, {"top": priors["top"]}, longer)
    assert sampled["top"].shape == (3, 40, 1)
    assert sample_window.num_programs() == compiled


def test_greedy_codes_are_the_argmax_of_hand_made_windows(priors, request_):
    """Windows, labels, timing and the codes above, put together here by hand from what the docstrings promise."""
    greedy = dataclasses.replace(
        request_,
        settings=sampler_settings.SamplingSettings(top_p=1.0, top_k=1),
        genres=("oboe",),
        total_seconds=3.0,
    )
    codes = hierarchy.sample_codes(LAYOUT, priors, greedy)
    for tier, hop in (("top", 6), ("middle", 4)):
        prior, length = priors[tier], codes[tier].shape[1]
        full_pass = jax.jit(lambda weights, batch, p=prior: p.functional.bind(*weights)(batch))
        first, start = 0, 0
        while first < length:
            # Zeros behind the end.
            padded = {name: np.pad(array, ((0, 0), (0, 12), (0, 0))) for name, array in codes.items()}
            batch = {
                "codes": padded[tier][:, start : start + 12],
                "labels": tiny_priors.labels(genre=[1, 1, 1]),
                "start": np.full(3, start, np.int32),
                "length": np.full(3, {"top": 30, "middle": 120}[tier], np.int32),
            }
            if tier == "middle":
                batch["above"] = padded["top"][:, start // 4 : start // 4 + 3]
            predicted = np.asarray(full_pass(prior.weights, batch)).argmax(axis=-1)
            stop = min(start + 12, length)
            np.testing.assert_array_equal(codes[tier][:, first:stop], predicted[:, first - start : stop - start])
            first, start = stop, min(start + hop, length - 12)


@pytest.fixture(scope="module")
def prompt(codes):
    """The first 0.5 s of every sample: 5 codes of the top tier."""
    return prompts.Prompt("former samples", {"top": codes["top"][:, :5], "middle": codes["middle"][:, :20]}, 0.5)


def test_what_continues_from_its_own_beginning_is_what_it_was(priors, request_, codes, prompt):
    """The draws depend on the place in the track, so a prompt that the same request made changes nothing, as long as
    the windows see what they saw: here one window holds all."""
    short = dataclasses.replace(request_, seconds=1.2)
    whole = hierarchy.sample_codes(LAYOUT, {"top": priors["top"]}, short)["top"]
    start = prompts.Prompt("its own beginning", {"top": whole[:, :5]}, 0.5)
    continued = dataclasses.replace(short, mode="continue")
    np.testing.assert_array_equal(
        hierarchy.sample_codes(LAYOUT, {"top": priors["top"]}, continued, start)["top"], whole
    )


def test_all_tiers_continue(priors, request_, codes, prompt):
    """Windows put together by hand: with top_k = 1 every code is the most probable one."""
    greedy = sampler_settings.SamplingSettings(top_p=1.0, top_k=1)
    continued = dataclasses.replace(request_, mode="continue", settings=greedy)
    got = hierarchy.sample_codes(LAYOUT, priors, continued, prompt)
    for tier in ("top", "middle"):
        length = prompt.codes[tier].shape[1]
        np.testing.assert_array_equal(got[tier][:, :length], prompt.codes[tier])
    np.testing.assert_array_equal(got["top"][:, 5:12], greedy_top(priors["top"], got["top"])[:, 5:12])
    # Another prompt, other music.
    other = prompts.Prompt("p", {tier: array[::-1] for tier, array in prompt.codes.items()}, 0.5)
    assert np.any(hierarchy.sample_codes(LAYOUT, priors, continued, other)["top"][:, 5:] != got["top"][:, 5:])


def greedy_top(prior, codes):
    """Most probable codes of the first window."""
    batch = {
        "codes": codes[:, :12],
        "labels": np.zeros((3, 2), np.int32),
        "start": np.zeros(3, np.int32),
        "length": np.full(3, 40, np.int32),
    }
    return np.asarray(prior.functional.bind(*prior.weights)(batch)).argmax(axis=-1)


def test_primed_takes_the_top_tier_alone(priors, request_, codes):
    prompt = prompts.Prompt("p", {"top": codes["top"][:, :5], "middle": codes["middle"][::-1, :20]}, 0.5)
    primed = dataclasses.replace(request_, mode="primed")
    got = hierarchy.sample_codes(LAYOUT, priors, primed, prompt)
    top_only = prompts.Prompt("p", {"top": prompt.codes["top"]}, 0.5)
    again = hierarchy.sample_codes(LAYOUT, priors, primed, top_only)
    continued = hierarchy.sample_codes(LAYOUT, priors, dataclasses.replace(request_, mode="continue"), prompt)
    np.testing.assert_array_equal(got["top"], continued["top"])
    for tier in got:
        np.testing.assert_array_equal(got[tier], again[tier])
    # The very request that the prompt is from, so its own finer codes come again, not because they were given.
    np.testing.assert_array_equal(got["middle"][:, :12], codes["middle"][:, :12])


def test_upsampling_what_was_sampled_gives_its_finer_codes(priors, request_, codes):
    given = prompts.Prompt("the top of a sample", {"top": codes["top"]}, 1.6)
    upsample = dataclasses.replace(request_, mode="upsample")
    got = hierarchy.sample_codes(LAYOUT, priors, upsample, given)
    for tier in codes:
        np.testing.assert_array_equal(got[tier], codes[tier])
    without_top = hierarchy.sample_codes(LAYOUT, {"middle": priors["middle"]}, upsample, given)
    np.testing.assert_array_equal(without_top["middle"], codes["middle"])


def test_a_prompt_longer_than_the_context_counts_by_its_tail(priors, request_):
    rng = np.random.default_rng(0)
    long = rng.integers(0, tiny_priors.NUM_CODES, (1, 30, 1)).astype(np.int32)
    other = long.copy()
    other[:, :20] = (other[:, :20] + 1) % tiny_priors.NUM_CODES
    continued = dataclasses.replace(request_, num_samples=1, seconds=4.0, mode="continue")
    top = {"top": priors["top"]}
    one, two = (
        hierarchy.sample_codes(LAYOUT, top, continued, prompts.Prompt("p", {"top": codes}, 3.0))["top"]
        for codes in (long, other)
    )
    # With hop 0.5 of 12 codes, what comes next has seen the last 6.
    np.testing.assert_array_equal(one[:, 30:], two[:, 30:])
    np.testing.assert_array_equal(one[:, :30], long)


def test_the_order_in_which_tiers_advance_does_not_matter(priors, request_, codes):
    together = hierarchy.Hierarchy(LAYOUT, priors, request_, show_progress=False)
    for stop in range(0, 65, 7):
        together.require("middle", stop)
        # The middle window looks at 3 codes of the top tier; those come in windows of 12, then of 6 more.
        assert together.done("middle") >= stop
    np.testing.assert_array_equal(together.codes["top"], codes["top"])
    np.testing.assert_array_equal(together.complete()["middle"], codes["middle"])


def test_little_of_the_top_tier_is_sampled_for_the_first_finer_codes(priors, request_):
    lazy = hierarchy.Hierarchy(LAYOUT, priors, request_, show_progress=False)
    lazy.require("middle", 1)
    assert (lazy.done("top"), lazy.done("middle")) == (12, 12)


def test_settings_by_tier(priors, request_, codes):
    changed = sampler_settings.SamplingSettings(temperature={"middle": 0.5}, top_p=1.0)
    got = hierarchy.sample_codes(LAYOUT, priors, dataclasses.replace(request_, settings=changed))
    np.testing.assert_array_equal(got["top"], codes["top"])
    assert np.any(got["middle"] != codes["middle"])


def test_a_temperature_that_falls_to_nothing_ends_in_the_most_probable_codes(priors, request_):
    falling = sampler_settings.SamplingSettings(temperature=(1.0, 1e-6), top_p=1.0)
    short = dataclasses.replace(request_, seconds=1.2, settings=falling)
    got = hierarchy.sample_codes(LAYOUT, {"top": priors["top"]}, short)["top"]
    best = greedy_top(priors["top"], got)
    np.testing.assert_array_equal(got[:, -1], best[:, -1])
    assert np.any(got[:, :6] != best[:, :6])


def test_labels_of_any_name(request_):
    """By turns, as genres; what is not named is unknown."""
    known = {"labels": ("pitch", "family"), "vocabularies": {"pitch": ("unknown", "60", "64"), "family": ("unknown",)}}
    prior = tiny_priors.trained_prior(tiny_priors.model_config("top", **known))
    short = dataclasses.replace(request_, seconds=1.2, genres=(), num_samples=2)

    def codes(*values: str):
        said = dataclasses.replace(short, labels=(("pitch", values),) if values else ())
        said.validate(LAYOUT, {"top": prior})
        return hierarchy.sample_codes(LAYOUT, {"top": prior}, said)["top"]

    both, untold = codes("60", "64"), codes()
    np.testing.assert_array_equal(both, np.stack([codes("60")[0], codes("64")[1]]))
    np.testing.assert_array_equal(codes("unknown"), untold)
    assert np.any(both[0] != untold[0]) and np.any(both[1] != untold[1])
    with pytest.raises(ValueError, match=r"labels=pitch:61: unknown pitch; .* unknown, 60, 64"):
        codes("61")
    with pytest.raises(ValueError, match=r"genre=oboe: the prior is told no genre; .* told: pitch, family"):
        dataclasses.replace(short, genres=("oboe",)).validate(LAYOUT, {"top": prior})
