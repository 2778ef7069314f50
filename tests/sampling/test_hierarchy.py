import dataclasses

import jax
import numpy as np
import pytest
import tiny_priors

from musicgen_jax import config
from musicgen_jax.sampling import hierarchy, logits

VQVAE = config.VQVAEConfig(sample_rate=1280)  # 10, 40 and 160 codes a second
ALL = logits.SamplingSettings(top_p=1.0)


@pytest.fixture(scope="module")
def priors():
    return {
        tier: tiny_priors.trained_prior(tiny_priors.model_config(tier, num_layers=1), seed=index)
        for index, tier in enumerate(("top", "middle"))
    }


@pytest.fixture(scope="module")
def request_():
    """Two windows of the top prior, seven of the middle one."""
    return hierarchy.Request(seconds=1.55, num_samples=3, seed=7, settings=ALL, batch_size=3)


@pytest.fixture(scope="module")
def codes(priors, request_):
    return hierarchy.sample_codes(VQVAE, priors, request_)


def test_lengths_and_types(codes):
    assert list(codes) == ["top", "middle"]
    assert codes["top"].shape == (3, 16)  # 15.5 codes, rounded up
    assert codes["middle"].shape == (3, 64)
    for tier_codes in codes.values():
        assert tier_codes.dtype == np.int32
        assert tier_codes.min() >= 0
        assert tier_codes.max() < tiny_priors.NUM_CODES
        assert len(np.unique(tier_codes, axis=0)) == 3


@pytest.mark.parametrize("batch_size", [1, 2])
def test_same_seed_same_codes_whatever_the_batch(priors, request_, codes, batch_size):
    again = hierarchy.sample_codes(VQVAE, priors, dataclasses.replace(request_, batch_size=batch_size))
    for tier in codes:
        np.testing.assert_array_equal(again[tier], codes[tier])


def test_a_sample_does_not_depend_on_how_many_there_are(priors, request_, codes):
    alone = hierarchy.sample_codes(VQVAE, priors, dataclasses.replace(request_, num_samples=1))
    np.testing.assert_array_equal(alone["middle"][0], codes["middle"][0])


def test_another_seed_gives_other_codes(priors, request_, codes):
    other = hierarchy.sample_codes(VQVAE, priors, dataclasses.replace(request_, seed=8))
    for tier in codes:
        assert np.mean(other[tier] != codes[tier]) > 0.5


def test_samples_take_the_genres_by_turns(priors, request_, codes):
    mixed = hierarchy.sample_codes(VQVAE, priors, dataclasses.replace(request_, genres=("oboe", "organ")))
    whole = {
        genre: hierarchy.sample_codes(VQVAE, priors, dataclasses.replace(request_, genres=(genre,)))
        for genre in ("oboe", "organ")
    }
    for sample in range(request_.num_samples):
        genre = ("oboe", "organ")[sample % 2]
        np.testing.assert_array_equal(mixed["top"][sample], whole[genre]["top"][sample])


def test_the_genre_matters(priors, request_, codes):
    other = hierarchy.sample_codes(VQVAE, priors, dataclasses.replace(request_, genres=("organ",)))
    assert np.any(other["top"] != codes["top"])


def test_a_longer_request_and_another_setting_compile_nothing(priors, request_, codes):
    sample_window = hierarchy.decode.make_sample_window(priors["top"].functional)
    compiled = sample_window._cache_size()
    longer = dataclasses.replace(
        request_, seconds=4.0, hop_fraction=0.25, settings=logits.SamplingSettings(0.7, 0.8, 5)
    )
    sampled = hierarchy.sample_codes(VQVAE, {"top": priors["top"]}, longer)
    assert sampled["top"].shape == (3, 40)
    assert sample_window._cache_size() == compiled


def test_greedy_codes_are_the_argmax_of_hand_made_windows(priors, request_):
    """Windows, labels, timing and the codes above, put together here by hand from what the docstrings promise."""
    greedy = dataclasses.replace(
        request_,
        settings=logits.SamplingSettings(top_p=1.0, top_k=1),
        genres=("oboe",),
        total_seconds=3.0,
    )
    codes = hierarchy.sample_codes(VQVAE, priors, greedy)
    for tier, hop in (("top", 6), ("middle", 4)):
        prior, length = priors[tier], codes[tier].shape[1]
        full_pass = jax.jit(lambda weights, batch, p=prior: p.functional.bind(*weights)(batch))
        first, start = 0, 0
        while first < length:
            # Zeros behind the end.
            padded = {name: np.pad(array, ((0, 0), (0, 12))) for name, array in codes.items()}
            batch = {
                "codes": padded[tier][:, start : start + 12],
                "genre": np.full(3, 1, np.int32),
                "artist": np.zeros(3, np.int32),
                "start": np.full(3, start, np.int32),
                "length": np.full(3, {"top": 30, "middle": 120}[tier], np.int32),
            }
            if tier == "middle":
                batch["above"] = padded["top"][:, start // 4 : start // 4 + 3]
            predicted = np.asarray(full_pass(prior.weights, batch)).argmax(axis=-1)
            stop = min(start + 12, length)
            np.testing.assert_array_equal(codes[tier][:, first:stop], predicted[:, first - start : stop - start])
            first, start = stop, min(start + hop, length - 12)


def test_length_defaults_to_the_usual_track(priors):
    window = hierarchy.windows.Window(12, 0, 12)
    rows, codes = np.arange(1), np.zeros((1, 30), np.int32)

    def length(**changes):
        request = hierarchy.Request(seconds=1.0, **changes)
        batch = hierarchy._window_batch(priors["top"].config, request, window, codes, None, rows)
        assert batch["start"].tolist() == [12]
        return batch["length"].tolist()

    assert length() == [40]  # the training tracks had 4 s, 10 codes a second
    assert length(total_seconds=2.5) == [25]
    long = hierarchy.Request(seconds=9.0)
    assert hierarchy._window_batch(priors["top"].config, long, window, codes, None, rows)["length"].tolist() == [90]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 0.0}, r"--seconds=0\.0: must be greater than 0"),
        ({"seconds": -1.0}, r"--seconds=-1\.0: must be greater than 0"),
        ({"seconds": float("nan")}, r"--seconds=nan"),
        ({"seconds": float("inf")}, r"--seconds=inf"),
        ({"num_samples": 0}, r"--num_samples=0: must be at least 1"),
        ({"batch_size": 0}, r"--batch_size=0: must be at least 1"),
        ({"hop_fraction": 0.0}, r"--hop_fraction=0\.0: must be in \(0, 1\]"),
        ({"total_seconds": 0.5}, r"--total_seconds=0\.5: must be 0 or at least --seconds=1\.0"),
        ({"total_seconds": float("inf")}, r"--total_seconds=inf"),
        ({"seed": -1}, r"--seed=-1: must be from 0 to 4294967295"),
        ({"seed": 2**32}, r"--seed=4294967296: must be from 0 to 4294967295"),
        ({"genres": ("organ", "kazoo")}, r"--genre=kazoo: unknown genre; .* unknown, oboe, organ"),
        ({"artist": "nobody"}, r"--artist=nobody: unknown artist"),
        ({"settings": logits.SamplingSettings(top_p=0.0)}, r"--top_p=0\.0: must be in \(0, 1\]"),
    ],
)
def test_bad_requests(priors, changes, message):
    request = hierarchy.Request(**({"seconds": 1.0} | changes))
    with pytest.raises(ValueError, match=message):
        request.validate(VQVAE, "f00d", priors)


def test_another_tokenizer_is_refused(priors):
    with pytest.raises(ValueError, match=r"--top: this prior was trained on codes of VQ-VAE f00d, but --vqvae is beef"):
        hierarchy.Request(seconds=1.0).validate(VQVAE, "beef", priors)


def test_a_tier_needs_the_one_above(priors):
    bottom = tiny_priors.trained_prior(tiny_priors.model_config("bottom"))
    with pytest.raises(ValueError, match=r"--bottom needs --middle"):
        hierarchy.Request(seconds=1.0).validate(VQVAE, "f00d", {"top": priors["top"], "bottom": bottom})
    hierarchy.Request(seconds=1.0, genres=("organ",)).validate(VQVAE, "f00d", priors)
