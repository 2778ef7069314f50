import dataclasses

import jax
import numpy as np
import pytest
import tiny_layouts
import tiny_priors

from musicgen_jax.sampling import decode, hierarchy, requests, sampler_settings, tier_sampler, windows

LAYOUT = tiny_layouts.of_vqvae()  # 10, 40 and 160 codes a second
ROWS = np.arange(1)


@pytest.fixture(scope="module")
def priors():
    return {
        tier: tiny_priors.trained_prior(tiny_priors.model_config(tier, num_layers=1), seed=index)
        for index, tier in enumerate(("top", "middle"))
    }


@pytest.fixture(scope="module")
def request_():
    """Seven windows of the middle prior with hop 0.5."""
    return requests.Request(
        seconds=1.6, num_samples=2, seed=7, settings=sampler_settings.SamplingSettings(top_p=1.0), parallel_windows=True
    )


def sampled(priors, request, devices=()):
    return hierarchy.Hierarchy(LAYOUT, priors, request, devices=devices, show_progress=False).complete()


def test_length_defaults_to_the_usual_track(priors):
    codes = np.zeros((1, 30, 1), np.int32)

    def length(seconds=1.0, **changes):
        request = requests.Request(seconds=seconds, **changes)
        start = np.array([12], np.int32)
        batch = tier_sampler.window_batch(priors["top"], request, codes, None, ROWS, start)
        assert batch["start"].tolist() == [12]
        return batch["length"].tolist()

    assert length() == [40]  # the training tracks had 4 s, 10 codes a second
    assert length(total_seconds=2.5) == [25]
    assert length(seconds=9.0) == [90]


def test_progress_counts_the_codes_of_all_codebooks(monkeypatch):
    counted = []

    class Counter:
        def __init__(self, name: str, total: int, unit: str):
            counted.append((name, total, unit))
            self.update = self.skip = counted.append

        def close(self) -> None:
            counted.append("closed")

    def make(*_):
        return lambda weights, batch, *rest: np.zeros_like(batch["codes"])

    monkeypatch.setattr(tier_sampler.progress_report, "Progress", Counter)
    monkeypatch.setattr(decode, "make_sample_window", make)
    prior = tiny_priors.trained_prior(tiny_priors.model_config("top", num_codebooks=3))
    request = requests.Request(seconds=2.0, num_samples=2)
    sampler = tier_sampler.TierSampler(prior, request, np.zeros((2, 4, 3), np.int32), 20, show_progress=True)
    while sampler.done < 20:
        sampler.advance(None)
    assert counted[0] == ("sample top", 2 * 16 * 3, "codes")
    assert sum(counted[1:-1]) == 2 * 16 * 3 and counted[-1] == "closed"


def test_arrays_end_with_zeros(priors):
    codes, above = (np.arange(1, size)[None, :, None].astype(np.int32) for size in (31, 9))
    request, start = requests.Request(seconds=0.75), np.array([0, 24], np.int32)
    batch = tier_sampler.window_batch(priors["middle"], request, codes, above, np.zeros(2, int), start)
    assert batch["codes"][..., 0].tolist() == [list(range(1, 13)), [*range(25, 31), *[0] * 6]]
    assert batch["above"][..., 0].tolist() == [[1, 2, 3], [7, 8, 0]]


def test_windows_side_by_side_are_each_sampled_alone(priors, request_):
    """With hop 1 nothing is shared: each window is what a track that begins there would be, were it told its place."""
    request = dataclasses.replace(request_, hop_fraction=1.0)
    codes = sampled(priors, request)
    prior, size = priors["middle"], 12
    sequential = sampled(priors, dataclasses.replace(request, parallel_windows=False))
    np.testing.assert_array_equal(codes["top"], sequential["top"])
    for start in (0, 12, 24):
        alone = tier_sampler.TierSampler(prior, request, np.zeros((2, 0, 1), np.int32), 64)
        alone.codes[:] = 5  # what stands to the left of the window must not matter
        jobs = [(row, windows.Window(start, 0, size)) for row in range(2)]
        np.testing.assert_array_equal(alone._sample(jobs, codes["top"]), codes["middle"][:, start : start + size])


@pytest.mark.parametrize("batch_size", [3, 64])
def test_the_batch_does_not_matter(priors, request_, batch_size):
    again = sampled(priors, dataclasses.replace(request_, batch_size=batch_size))
    for tier, codes in sampled(priors, request_).items():
        np.testing.assert_array_equal(again[tier], codes)


def test_shared_stretches_come_to_agree(priors, request_):
    """Two windows draw a shared stretch with the same random numbers."""
    prior = priors["middle"]
    sampler = tier_sampler.TierSampler(prior, request_, np.zeros((2, 0, 1), np.int32), 64)
    top = sampled({"top": priors["top"]}, request_)["top"]
    left, right = (sampler._sample([(row, windows.Window(start, 0, 12)) for row in range(2)], top) for start in (0, 4))
    agree = np.mean(left[:, 4:] == right[:, :8])
    assert agree > 0.3  # 1 / 11 by chance


def test_sharded_equals_one_device(priors, request_):
    devices = jax.devices()
    assert len(devices) == 8
    one, eight = sampled(priors, request_, devices[:1]), sampled(priors, request_, devices)
    for tier in one:
        np.testing.assert_array_equal(one[tier], eight[tier])


def test_sharded_windows_lie_on_all_devices(priors, request_, monkeypatch):
    eight = dataclasses.replace(request_, batch_size=8)
    sampler = tier_sampler.TierSampler(
        priors["middle"], eight, np.zeros((2, 0, 1), np.int32), 64, devices=jax.devices()
    )
    seen = []
    monkeypatch.setattr(sampler, "_sample_window", lambda weights, batch, *rest: seen.append(batch) or batch["codes"])
    sampler.advance(np.zeros((2, 16, 1), np.int32))
    assert len(seen[0]["codes"].sharding.device_set) == 8
    assert seen[0]["codes"].addressable_shards[0].data.shape == (1, 12, 1)
