"""Sketches of sets, and clusters of those that are nearly the same."""

import time

import numpy as np

from musicgen_jax.data import near_duplicates


def features(seed: int, count: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**63, count).astype(np.uint64)


def sketches_of_pairs(count: int, kept: int) -> list[np.ndarray]:
    """Of `count` sets, then of as many that share `kept` of 60 features with one of them each."""
    first = [features(seed) for seed in range(count)]
    second = [np.concatenate([one[:kept], features(seed + count, 60 - kept)]) for seed, one in enumerate(first)]
    return [near_duplicates.sketch(one) for one in (*first, *second)]


def clusters_of(sketches: list, min_agreement: float) -> list[int]:
    clusters = near_duplicates.Clusters(len(sketches))
    clusters.unite_alike(sketches, min_agreement)
    return clusters.roots()


def test_agreement_estimates_the_jaccard_similarity():
    found = sketches_of_pairs(200, 40)
    values = [near_duplicates.agreement(found[i], found[200 + i]) for i in range(200)]
    assert abs(np.mean(values) - 40 / 80) < 0.01
    # The standard deviation of the mean of 256 coins that fall so.
    assert abs(np.std(values) - np.sqrt(0.25 / near_duplicates.NUM_HASHES)) < 0.01
    assert near_duplicates.agreement(found[0], found[1]) < 0.02


def test_a_sketch_is_of_the_set_alone():
    values = features(0)
    shuffled = np.concatenate([values[::-1], values[:7]])
    np.testing.assert_array_equal(near_duplicates.sketch(values), near_duplicates.sketch(shuffled))
    assert near_duplicates.sketch(values[: near_duplicates.MIN_FEATURES - 1]) is None
    assert near_duplicates.sketch(np.repeat(values[:3], 30)) is None


def test_clusters_are_those_of_all_pairs():
    found = [*sketches_of_pairs(60, 30), None, None, *sketches_of_pairs(5, 60)]
    slow = near_duplicates.Clusters(len(found))
    for i, one in enumerate(found):
        for j, two in enumerate(found[:i]):
            if one is not None and two is not None and near_duplicates.agreement(one, two) >= 0.2:
                slow.unite(i, j)
    assert clusters_of(found, 0.2) == slow.roots()
    assert slow.roots()[60:120] == list(range(60)) and slow.roots()[120:122] == [120, 121]


def test_equal_keys_and_chains():
    clusters = near_duplicates.Clusters(6)
    clusters.unite_equal([["a"], [], ["b", "c"], ["d", "a"], (), {"c"}])
    clusters.unite(3, 5)
    assert clusters.roots() == [0, 1, 0, 0, 4, 0]


def test_time_grows_nearly_as_the_number_of_sets():
    """Four times as many take about four times as long, and not sixteen; so do sets that are all the same."""

    def seconds(sketches: list) -> float:
        started = time.process_time()
        clusters_of(sketches, 0.2)
        return time.process_time() - started

    rng = np.random.default_rng(0)
    several = rng.integers(0, 2**32, (8000, near_duplicates.NUM_HASHES)).astype(np.uint32)
    assert seconds(list(several)) < 9 * max(seconds(list(several[:2000])), 0.02)
    # The worst case: values that all share, of sketches that are not alike.
    several[:, : near_duplicates.NUM_HASHES // 8] = 1
    assert seconds(list(several[:2000])) < 9 * max(seconds(list(several[:500])), 0.02)
