"""Which keys a query sees in factored attention (Child et al. 2019; Dhariwal et al. 2020, appendix A).

A sequence is laid out in rows of `row_length` positions. The pictures show a sequence of 12 in rows of 4; the query is
Q (position 6), what it sees is x:

    dense       row         column      previous row    prime (5 keys)
    x x x x     . . . .     . . x .     x x x x         x x x x
    x x Q .     x x Q .     . . Q .     . . Q .         x . Q .
    . . . .     . . . .     . . . .     . . . .         . . . .

A query sees itself (Q is x too), except in "previous row", and in "prime" where it lies behind the prime. Alternating
row, column and previous row, any position reaches any earlier one in three layers.

Every function takes positions of queries and of keys as integers or arrays (NumPy's or JAX's) that broadcast, and
returns booleans: a mask of whole sequences from `positions[:, None], positions[None]`, one row of it from a scalar
query. A query that sees nothing at all gets zero from attention.
"""

import jax
import numpy as np

Positions = int | np.ndarray | jax.Array
Mask = np.ndarray | jax.Array


def dense(query: Positions, key: Positions) -> Mask:
    """Everything before, and the position itself.

    x . . .
    x x . .
    x x x .
    x x x x
    """
    return key <= query


def row(query: Positions, key: Positions, row_length: int) -> Mask:
    """The query's own row, up to itself. In rows of 2:

    x . . .
    x x . .
    . . x .
    . . x x
    """
    return (key <= query) & (key // row_length == query // row_length)


def column(query: Positions, key: Positions, row_length: int) -> Mask:
    """The same place in every earlier row, and the position itself. In rows of 2:

    x . . .
    . x . .
    x . x .
    . x . x
    """
    return (key <= query) & (key % row_length == query % row_length)


def previous_row(query: Positions, key: Positions, row_length: int) -> Mask:
    """The whole row before the query's own; nothing in the first row. In rows of 2:

    . . . .
    . . . .
    x x . .
    x x . .

    The published models let the first row see a row of zero keys and zero values, unmasked: that is zero, as here.
    """
    return key // row_length == query // row_length - 1


def prime(query: Positions, key: Positions, prime_length: int) -> Mask:
    """The first `prime_length` positions, up to the query itself. With a prime of 2:

    x . . .
    x x . .
    x x . .
    x x . .
    """
    return (key <= query) & (key < prime_length)


def published_prime_length(num_prefix: int, num_rows: int) -> int:
    """Keys of the published models' prime attention: a multiple of the number of rows above the prefix.

    384 characters in 64 rows give 448: the first 64 codes are seen as well.
    """
    return (num_prefix // num_rows + 1) * num_rows
