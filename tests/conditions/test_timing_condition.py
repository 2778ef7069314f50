import numpy as np
import pytest
import tiny_condition
import tiny_priors

from musicgen_jax.conditions import timing


@pytest.fixture(scope="module")
def built():
    model = tiny_priors.model_config(timing_dropout=0.1)
    return tiny_condition.build(lambda rngs: timing.Timing(model, rngs=rngs))


def test_timing_is_the_sum_of_two_tables(built):
    # 10 codes a second, lengths up to 8 s in 5 bins, context 12: a window at 20 of a track of 48 codes.
    tables, added = built
    elapsed = [int((20 + t) / 48 * 5) for t in range(12)]
    expected = tables["total"][int(4.8 / 8.0 * 5)] + tables["elapsed"][elapsed]
    np.testing.assert_allclose(added(start=[20], length=[48])[0], expected, atol=1e-6)


def test_times_behind_the_last_bin_take_the_last_bin(built):
    tables, added = built
    expected = tables["total"][4] + tables["elapsed"][4]
    np.testing.assert_allclose(added(start=[1000], length=[1000])[0], np.tile(expected, (12, 1)), atol=1e-6)


def test_hidden_timing_is_a_trained_vector(built):
    tables, added = built
    hidden = added(np.array([True, False]), start=[20, 20], length=[48, 48])
    np.testing.assert_array_equal(hidden[0], np.tile(tables["no_timing"], (12, 1)))
    np.testing.assert_array_equal(hidden[1], added(start=[20], length=[48])[0])
