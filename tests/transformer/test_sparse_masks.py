"""Masks against slow double loops written from the definitions."""

import numpy as np
import pytest

from musicgen_jax.transformer import sparse_masks

LENGTH, ROW_LENGTH, PRIME_LENGTH = 15, 4, 6


def by_definition(sees, num_keys: int = LENGTH) -> np.ndarray:
    mask = np.zeros((LENGTH, num_keys), bool)
    for query in range(LENGTH):
        for key in range(num_keys):
            mask[query, key] = sees(query, key)
    return mask


def rows() -> list[list[int]]:
    """The positions, row by row; the last row is not full."""
    return [list(range(LENGTH))[start : start + ROW_LENGTH] for start in range(0, LENGTH, ROW_LENGTH)]


def row_index(position: int) -> int:
    return next(index for index, row in enumerate(rows()) if position in row)


def sees_dense(query: int, key: int) -> bool:
    return key in range(query + 1)


def sees_row(query: int, key: int) -> bool:
    return key in rows()[row_index(query)] and key in range(query + 1)


def sees_column(query: int, key: int) -> bool:
    return key in [position for position in range(query, -1, -1) if (query - position) % ROW_LENGTH == 0]


def sees_previous_row(query: int, key: int) -> bool:
    return row_index(query) > 0 and key in rows()[row_index(query) - 1]


def sees_prime(query: int, key: int) -> bool:
    return key in list(range(query + 1))[:PRIME_LENGTH]


CASES = {
    "dense": (sparse_masks.dense, (), sees_dense),
    "row": (sparse_masks.row, (ROW_LENGTH,), sees_row),
    "column": (sparse_masks.column, (ROW_LENGTH,), sees_column),
    "previous_row": (sparse_masks.previous_row, (ROW_LENGTH,), sees_previous_row),
    "prime": (sparse_masks.prime, (PRIME_LENGTH,), sees_prime),
}
POSITIONS = np.arange(LENGTH)


@pytest.mark.parametrize("name", CASES)
def test_masks_are_as_defined(name):
    visible, lengths, sees = CASES[name]
    np.testing.assert_array_equal(visible(POSITIONS[:, None], POSITIONS[None], *lengths), by_definition(sees))


@pytest.mark.parametrize("name", CASES)
def test_one_query_gives_its_row_of_the_mask(name):
    visible, lengths, _ = CASES[name]
    whole = visible(POSITIONS[:, None], POSITIONS[None], *lengths)
    for query in (0, 3, 4, 14):
        np.testing.assert_array_equal(visible(query, POSITIONS, *lengths), whole[query])


def test_the_first_row_has_no_row_before_it():
    assert not sparse_masks.previous_row(POSITIONS[:4, None], POSITIONS[None], 4).any()
    assert sparse_masks.previous_row(POSITIONS[4:, None], POSITIONS[None], 4).any(axis=1).all()


def test_three_layers_reach_everything_before():
    """Row, column and previous row one after the other: no earlier position is out of reach."""
    masks = [by_definition(sees).astype(int) for sees in (sees_row, sees_column, sees_previous_row)]
    # A residual connection keeps what a position knew.
    reached = np.linalg.multi_dot([mask + np.eye(LENGTH, dtype=int) for mask in reversed(masks)])
    np.testing.assert_array_equal(reached > 0, by_definition(sees_dense))


def test_prime_attention_sees_448_keys_of_the_published_384_characters():
    assert sparse_masks.published_prime_length(384, 64) == 448
    assert sparse_masks.published_prime_length(6, 4) == 8
