import numpy as np
import pytest

from musicgen_jax.transformer import relative_distances


@pytest.mark.parametrize(("queries", "keys", "columns"), [(5, 5, 10), (3, 4, 7), (4, 2, 9)])
def test_skew_moves_distances_to_positions(queries, keys, columns):
    by_distance = np.zeros((2, queries, columns), np.float32)
    for i in range(queries):
        for w in range(columns):
            by_distance[:, i, w] = 100 * i + (queries - 1 - w)
    skewed = np.asarray(relative_distances.skew(by_distance, keys))
    for i in range(queries):
        for j in range(keys):
            assert np.all(skewed[:, i, j] == 100 * i + (i - j))


def test_a_causal_skew_needs_no_columns_for_what_is_ahead():
    by_distance = np.tile(np.arange(4, -2, -1, dtype=np.float32), (5, 1))  # five distances, and one that is dropped
    skewed = np.asarray(relative_distances.skew(by_distance, 5))
    index = np.arange(5)
    distance = index[:, None] - index
    assert np.all(skewed[distance >= 0] == distance[distance >= 0])


def test_unskew_is_the_transpose_of_skew():
    rng = np.random.default_rng(0)
    by_distance, by_position = rng.normal(size=(2, 3, 9)), rng.normal(size=(2, 3, 4))
    there = np.sum(np.asarray(relative_distances.skew(by_distance.astype(np.float32), 4)) * by_position)
    back = np.sum(np.asarray(relative_distances.unskew(by_position.astype(np.float32), 9)) * by_distance)
    assert there == pytest.approx(back, rel=1e-5)


@pytest.mark.parametrize(
    ("causal", "beyond", "furthest", "expected"),
    [
        (True, "zero", 4, [0, 0, 3, 2, 1]),  # rows 1, 2, 3 are the distances 0, 1, 2
        (True, "clamp", 4, [3, 3, 3, 2, 1]),
        (True, "zero", 1, [2, 1, 0, 0, 0]),
        (False, "zero", 3, [0, 0, 3, 2, 1]),  # rows 1, 2, 3 are the distances -1, 0, 1
        (False, "clamp", 3, [3, 3, 3, 2, 1]),
        (False, "clamp", 0, [2, 1, 1, 1, 1]),
        (False, "zero", 0, [2, 1, 0, 0, 0]),
    ],
)
def test_a_strip_has_the_rows_of_falling_distances(causal, beyond, furthest, expected):
    table = np.arange(1, 4, dtype=np.float32).reshape(1, 3, 1)
    pattern = relative_distances.Pattern(causal, beyond=beyond)
    rows = np.asarray(relative_distances.strip(table, pattern, furthest, 5)).ravel()
    known = slice(0, furthest + 1) if causal else slice(None)  # nobody reads what is ahead of a causal query
    assert rows.tolist()[known] == expected[known]


def test_a_table_for_both_ways_has_a_middle():
    with pytest.raises(ValueError, match="a table of 4 rows"):
        relative_distances.Pattern(causal=False).reach(np.zeros((1, 4, 2)))
