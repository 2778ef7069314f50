"""Code embeddings that start from the codebook keep its geometry."""

import numpy as np
from flax import nnx

from musicgen_jax.nn import tables


def test_without_codebook_values_are_independent_and_standard():
    table = np.asarray(tables.of_codebooks(None, 1, 512, 64, nnx.Rngs(0)))
    assert table.shape == (512, 64)
    assert abs(table.mean()) < 0.02 and abs(table.std() - 1) < 0.02


def test_neighbours_in_the_codebook_are_neighbours_in_the_table():
    rng = np.random.default_rng(0)
    codebook = rng.normal(size=(200, 16)) * np.geomspace(0.01, 10, 16)  # widely different scales
    codebook[1] = codebook[0] + 1e-4 * codebook.std(axis=0)
    table = np.asarray(tables.of_codebooks(codebook[None], 1, 200, 128, nnx.Rngs(0)))
    distances = np.linalg.norm(table - table[0], axis=1)
    assert distances[1] < 0.01 * np.median(distances[2:])
    assert abs(table.mean()) < 0.1 and abs(table.std() - 1) < 0.1
    # A random projection to 128 dimensions keeps distances between standardised entries (Johnson-Lindenstrauss).
    standardised = (codebook - codebook.mean(0)) / codebook.std(0)
    expected = np.linalg.norm(standardised - standardised[0], axis=1) * (128 / 16) ** 0.5
    np.testing.assert_allclose(distances[2:], expected[2:], rtol=0.35)


def test_a_constant_dimension_gives_no_nan():
    codebook = np.ones((10, 4), np.float32)
    codebook[:, 0] = np.arange(10)
    assert np.isfinite(np.asarray(tables.of_codebooks(codebook[None], 1, 10, 8, nnx.Rngs(0)))).all()


def test_every_codebook_has_its_own_rows():
    books = np.random.default_rng(0).normal(size=(3, 10, 4)).astype(np.float32)
    table = tables.of_codebooks(books, 3, 10, 8, nnx.Rngs(0))
    assert table.shape == (30, 8)
    codes = np.array([[1, 2, 3], [-1, 5, -1]])
    want = np.stack([table[1] + table[10 + 2] + table[20 + 3], table[10 + 5]])
    np.testing.assert_allclose(tables.summed_known(table, codes), want, rtol=1e-6)
    np.testing.assert_allclose(tables.summed(table, codes[:1]), want[:1], rtol=1e-6)
