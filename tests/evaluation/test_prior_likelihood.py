import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors

from musicgen_jax.codes import code_dataset, code_shards
from musicgen_jax.evaluation import likelihood, prior_likelihood
from musicgen_jax.priors import trained


@pytest.fixture(scope="module", params=[("top", 7), ("middle", 12)], ids=str)
def prior(request, tiny_codes) -> trained.TrainedPrior:
    """Contexts whose half is not whole, or no whole number of codes above, included."""
    tier, context = request.param
    model = code_dataset.resolve(tiny_priors.model_config(tier, context=context, num_layers=1), tiny_codes)
    return tiny_priors.trained_prior(model, tiny_codes)


def slow_nats(prior, num_codes):
    """-log p of the first `num_codes` codes of every validation track, each from a window of its own, as a list."""
    model, windows = prior.config, code_dataset.Windows(prior.codes_path, "validation", prior.config)
    hop = model.context // 2 // max(model.upsampling, 1) * max(model.upsampling, 1)
    full_pass = jax.jit(lambda weights, batch: prior.functional.bind(*weights)(batch))
    scores = []
    for track in range(len(windows.entries)):
        for position in range(min(num_codes, windows.num_frames(track))):
            # The earliest window on the grid of hops that holds the code has the most of the past.
            start = max(-(-(position - model.context + 1) // hop), 0) * hop
            window = windows.window(track, start)
            assert window["mask"][position - start]
            logits = full_pass(prior.weights, {name: array[None] for name, array in window.items()})
            row = np.asarray(logits)[0, position - start, 0].astype(np.float64)
            scores.append(np.log(np.exp(row).sum()) - row[window["codes"][position - start, 0]])
    return scores


def test_equals_one_window_a_code(prior):
    windows = code_dataset.Windows(prior.codes_path, "validation", prior.config)
    result = prior_likelihood.evaluate_prior(prior, "validation", max_codes=30 * len(windows.entries))
    hop = {7: 3, 12: 4}[prior.config.context]
    expected = slow_nats(prior, 30 // hop * hop)
    assert result["num_codes"] == len(expected)
    assert result["num_tracks"] == len(windows.entries)
    assert result["nats_per_code"] == pytest.approx(np.mean(expected), abs=1e-5)
    assert result["perplexity"] == pytest.approx(np.exp(np.mean(expected)), rel=1e-5)


def test_whole_tracks_and_each_by_itself(prior):
    """The figures of all codes are those of the tracks, each as long as it is."""
    windows = code_dataset.Windows(prior.codes_path, "validation", prior.config)
    result = prior_likelihood.evaluate_prior(prior, "validation", max_codes=0)
    rows = result["tracks"]
    assert [row["num_codes"] for row in rows] == [windows.num_frames(track) for track in range(len(windows.entries))]
    assert result["num_whole_tracks"] == result["num_tracks"] == len(rows)
    for name in ("nats_per_code", "unigram_nats", "bigram_nats"):
        total = sum(row[name] * row["num_codes"] for row in rows)
        assert result[name] == pytest.approx(total / result["num_codes"])
        assert result["intervals"][name]["mean"] == result[name]
    difference = result["intervals"]["nats_minus_bigram"]["mean"]
    assert difference == pytest.approx(result["nats_per_code"] - result["bigram_nats"])


@pytest.mark.long
def test_a_model_of_two_channels_hears_the_same_in_both(tiny_codes):
    model = code_dataset.resolve(tiny_priors.model_config(num_layers=1), tiny_codes)
    stereo = dataclasses.replace(model, num_codebooks=2, pattern="stereo_delay")
    windows = code_dataset.Windows(tiny_codes, "validation", stereo)
    codes = code_dataset.Windows(tiny_codes, "validation", model).window(0, 0)["codes"]
    np.testing.assert_array_equal(windows.window(0, 0)["codes"], np.concatenate([codes, codes], axis=1))
    of_one, of_two = (
        prior_likelihood.evaluate_prior(tiny_priors.trained_prior(one, tiny_codes), "validation", max_codes)
        for one, max_codes in ((model, 60), (stereo, 120))
    )
    assert of_two["num_codes"] == 2 * of_one["num_codes"] and of_two["seconds"] == of_one["seconds"]
    for name in ("unigram_nats", "bigram_nats"):
        assert of_two[name] == pytest.approx(of_one[name])
    assert np.isfinite(of_two["nats_per_code"])


def test_a_model_that_diverged_has_no_likelihood(prior):
    params, buffers = prior.weights
    broken = dataclasses.replace(prior, weights=(params | {"bias": params["bias"] * jnp.nan}, buffers))
    with pytest.raises(ValueError, match=r"of . of . held-out tracks is not a finite number: the model's training"):
        prior_likelihood.evaluate_prior(broken, "validation", max_codes=100)
    tier = prior.config.tier
    found, failed = prior_likelihood.evaluate_priors({tier: broken}, "validation", max_codes=100)
    assert found == {} and "diverged" in failed[tier]


def test_baselines_score_the_same_codes(prior):
    result = prior_likelihood.evaluate_prior(prior, "validation", max_codes=60)
    train, held_out = (
        [codes[:, 0] for codes in code_shards.Tracks(prior.codes_path, split).all_codes(prior.config.tier)]
        for split in ("train", "validation")
    )
    limit = max(len(codes) for codes in held_out)
    while sum(min(len(codes), limit) for codes in held_out) > result["num_codes"]:
        limit -= 1
    scored = [codes[:limit] for codes in held_out]
    assert sum(map(len, scored)) == result["num_codes"]
    for name, fit in (("unigram", likelihood.fit_unigram), ("bigram", likelihood.fit_bigram)):
        expected = likelihood.nats_per_code(fit(train, prior.config.num_codes), scored)
        assert result[f"{name}_nats"] == pytest.approx(expected)


def test_uniform_predictions_score_log_k(prior):
    params, buffers = prior.weights
    silenced = params | {name: jnp.zeros_like(params[name]) for name in ("logits", "bias")}
    uniform = dataclasses.replace(prior, weights=(silenced, buffers))
    result = prior_likelihood.evaluate_prior(uniform, "validation", max_codes=1000)
    assert result["nats_per_code"] == pytest.approx(np.log(prior.config.num_codes), rel=1e-6)
    assert result["perplexity"] == pytest.approx(prior.config.num_codes, rel=1e-5)


def test_every_code_is_scored_once_with_enough_past():
    lengths = (1, 2, 3, 7, 8, 12, 13, 24, 25, 50)
    for context, upsampling in ((2, 0), (7, 0), (8, 0), (8, 2), (12, 4), (4, 4), (32, 4)):
        multiple = max(upsampling, 1)
        model = types.SimpleNamespace(context=context, multiple=multiple)
        windows = types.SimpleNamespace(lengths=lengths)
        for limit in (1, 5, 12, 24, 1000):
            scored = {track: [] for track in range(len(lengths))}
            for place in prior_likelihood._places(windows, model, limit):
                assert place.start % multiple == 0
                assert 0 <= place.first < place.stop <= context
                assert place.start == 0 or place.first >= context // 2 or context == upsampling
                scored[place.track] += range(place.start + place.first, place.start + place.stop)
            for track, length in enumerate(lengths):
                assert scored[track] == list(range(min(length, limit))), (context, upsampling, limit, length)


def test_codes_that_are_gone(prior, tmp_path):
    with pytest.raises(FileNotFoundError):
        prior_likelihood.evaluate_prior(dataclasses.replace(prior, codes_path=str(tmp_path / "x")), "validation", 100)
