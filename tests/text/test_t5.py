"""T5's encoder: what the reference computes (a golden file), what must not change its result, and its distances."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_text

from musicgen_jax import config
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.text import t5, text_encoder


@pytest.mark.parametrize("feed_forward", config.FEED_FORWARDS)
def test_states_are_those_of_the_reference(feed_forward):
    """The file is written, and compared with transformers, by test_t5_parity.py."""
    found = tiny_text.states(tiny_text.model_config(feed_forward), *tiny_text.golden_batch())
    stored = np.load(tiny_text.GOLDEN_FILE)[feed_forward]
    assert stored.std() > 0.3
    np.testing.assert_allclose(found[:, ::10], stored, atol=2e-5)


def test_what_is_no_token_changes_nothing():
    model, rng = tiny_text.model_config(), np.random.default_rng(0)
    numbers, mask = tiny_text.golden_batch()
    found = tiny_text.states(model, numbers, mask)
    assert np.isfinite(found).all() and not found[~mask].any() and found[mask].any(axis=-1).all()
    noise = np.where(mask, numbers, rng.integers(0, 60, numbers.shape)).astype(np.int32)
    np.testing.assert_array_equal(tiny_text.states(model, noise, mask), found)
    alone = tiny_text.states(model, numbers[1:2, :9], mask[1:2, :9])
    np.testing.assert_allclose(alone[0], found[1, :9], atol=1e-5)


def test_every_token_is_told_of_all_others():
    model = tiny_text.model_config(num_layers=1)
    numbers = np.arange(3, 9, dtype=np.int32)[None]
    mask = np.ones(numbers.shape, bool)
    plain = tiny_text.states(model, numbers, mask)
    for place in (0, 5):
        other = numbers.copy()
        other[0, place] = 40
        assert (np.abs(tiny_text.states(model, other, mask) - plain).max(axis=-1) > 1e-3).all()
    turned = tiny_text.states(model, numbers[:, ::-1], mask)[:, ::-1]  # the bias of distances has a direction
    assert np.abs(turned - plain).max() > 1e-3


def test_distances_fall_into_buckets_as_a_loop_says():
    """The rule of the paper, section 2.1, in Python's floats; at the bounds, where rounding decides, with 1e-6 more."""
    found = t5.buckets(300, 32, 128)
    for query, key in ((10, 10), (10, 3), (10, 17), (0, 8), (0, 15), (0, 16), (0, 127), (0, 128), (0, 299), (299, 0)):
        distance = abs(key - query)
        wide = 8 + int(math.log(max(distance, 8) / 8) / math.log(128 / 8) * 8 + 1e-6)
        bucket = distance if distance < 8 else min(wide, 15)
        assert found[query, key] == bucket + 16 * (key > query), (query, key)
    assert found.min() == 0 and found.max() == 31 and len(np.unique(found)) == 31  # nothing ahead is at distance 0


def test_narrow_activations_are_near():
    model = tiny_text.model_config()
    bound = text_encoder.functional(model, jnp.bfloat16).bind(tiny_text.weights(model), {})
    batch = tiny_text.golden_batch()
    found, wide = np.asarray(bound(*batch)), tiny_text.states(model, *batch)
    assert found.dtype == np.float32
    assert 1e-4 < np.abs(found - wide).mean() / np.abs(wide).mean() < 0.1


def test_the_published_size():
    functional = text_encoder.functional(config.T5Config())
    assert functional.num_parameters() == 109_628_544  # of t5-base's encoder


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"feed_forward": "silu"}, "feed_forward='silu': must be one of relu, gated-gelu"),
        ({"num_buckets": 30}, "num_buckets=30: must be a multiple of 4"),
        ({"max_distance": 8}, "max_distance=8: must be at least 9"),
        ({"width": 0}, "width=0: must be at least 1"),
    ],
)
def test_sizes_that_make_no_encoder(changed, message):
    with pytest.raises(UserError, match=message):
        config.T5Config(**changed).validate()
