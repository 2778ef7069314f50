"""The benchmark's lines on tiny models, and the likelihoods that they stand on."""

import json

import jax
import numpy as np
import pytest
import tiny_priors
import tiny_workdirs
from tiny_layouts import TIERS

from benchmarks import code_nats
from musicgen_jax.sampling import requests, tier_sampler, windows


@pytest.fixture(scope="module")
def models(tiny_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_workdirs.write(folder, tiny_tokenizer, TIERS)
    return folder


@pytest.mark.long
def test_a_line_a_tier_and_a_line_a_way(benchmark, models, tiny_tokenizer):
    done = benchmark("windows", f"--models={models}", "--seconds=1")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    seams, ways = lines[:3], lines[3:]
    for tier, line in zip(TIERS, seams, strict=True):
        num_codes = -(-tiny_tokenizer.layout.sample_rate // 128) * 128 // tiny_tokenizer.layout.stream(tier).hop_length
        # The first window fills a context of 12, each one after it brings half a context.
        hop = 6 if tier == "top" else 4  # whole codes of the tier above
        assert line["tier"] == tier and line["borders"] == 2 * -(-(num_codes - 12) // hop)
        assert 0 <= line["value"] <= 1 and line["largest_step_at_borders"] <= line["largest_step"]
    assert [(line["tier"], line["parallel_windows"], line["hop_fraction"]) for line in ways] == [
        (tier, parallel, hop)
        for tier in ("middle", "bottom")
        for parallel, hop in ((False, 0.5), (True, 1.0), (True, 0.75), (True, 0.5))
    ]
    assert all(line["value"] > 0 and line["nats_behind_border"] > 0 for line in ways)


@pytest.mark.long
def test_nats_of_codes_by_a_slow_loop():
    model = tiny_priors.model_config("middle", num_layers=1)
    prior = tiny_priors.trained_prior(model)
    draw = np.random.default_rng(0)
    codes, above = (draw.integers(0, model.num_codes, (2, length, 1), dtype=np.int32) for length in (40, 10))
    request = requests.Request(seconds=1.0, num_samples=2)
    found = code_nats.code_nats(prior, request, codes, above)
    for row in range(2):
        for window in windows.plan(40, model.context, 0.5, model.upsampling):
            start = np.array([window.start])
            batch = tier_sampler.window_batch(prior, request, codes, above, np.array([row]), start)
            shares = jax.nn.softmax(prior.functional.bind(*prior.weights)(batch)[0, :, 0])
            for place in range(window.known, window.stop):
                code = codes[row, window.start + place, 0]
                np.testing.assert_allclose(found[row, window.start + place], -np.log(shares[place, code]), rtol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--behind=0"], "--behind=0: must be at least 1"),
        (["--genre=kazoo"], "--genre=kazoo: unknown genre"),
        (["--seconds=0.3"], "--seconds=0.3: one window of the top tier holds it"),
        (["--seconds=0"], "--seconds=0.0: must be greater than 0"),
    ],
)
def test_a_bad_flag_is_one_line(benchmark, models, flags, message):
    done = benchmark("windows", f"--models={models}", *flags)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr
