"""Orders in which codes become known."""

import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax.diffusion import order


def test_spread_reads_bits_backwards():
    expected = [int(f"{position:024b}"[::-1], 2) / 2**24 for position in range(1000)]
    np.testing.assert_array_equal(order.spread(np.arange(1000)), np.float32(expected))
    np.testing.assert_array_equal(order.spread(jnp.arange(1000)), np.float32(expected))


@pytest.mark.parametrize("steps", [2, 4, 16])
def test_codes_of_a_step_are_as_far_apart_as_can_be(steps):
    blocks = np.argsort(order.spread(np.arange(64))).reshape(steps, -1)
    for block in blocks:
        assert set(np.diff(np.sort(block))) == {steps}
    # Two steps of twice as many are one step.
    finer = np.argsort(order.spread(np.arange(64))).reshape(2 * steps, -1)
    assert all(set(block) == set(pair) for block, pair in zip(blocks, finer.reshape(steps, -1), strict=True))


def test_ranks_count_only_what_counts():
    rng = np.random.default_rng(0)
    priority, among = rng.random((5, 20)).astype(np.float32), rng.random((5, 20)) < 0.6
    places = np.asarray(order.positions_in_order(priority, among))
    ranks = np.asarray(order.ranks(priority, among))
    for row in range(5):
        chosen = np.flatnonzero(among[row])
        expected = chosen[np.argsort(priority[row, chosen])]
        np.testing.assert_array_equal(places[row, : len(chosen)], expected)
        np.testing.assert_array_equal(ranks[row, expected], np.arange(len(chosen)))
        assert np.all(ranks[row, ~among[row]] >= len(chosen))
