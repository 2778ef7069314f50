"""Matrices orthogonalised together are those that Optax orthogonalises one by one, and so is the state."""

import jax
import numpy as np
import optax
import pytest

from musicgen_jax.nn import parameters
from musicgen_jax.training import muon

MATRIX = parameters.Declaration("matrix", (-2,), (-1,))
DECLARED = {
    "wide": MATRIX,
    "tall": MATRIX,  # of the same shape, lying on its side
    "convolution": parameters.Declaration("matrix", (-3, -2), (-1,)),  # likewise
    "heads": parameters.Declaration("matrix", (-4,), (-2, -1)),  # three of that shape in each of two layers
    "square": MATRIX,
    "bias": parameters.Declaration("bias"),
}
SHAPES = {"wide": (4, 6), "tall": (6, 4), "convolution": (3, 2, 4), "heads": (2, 4, 3, 2, 3), "square": (5, 5)}


@pytest.fixture(scope="module")
def gradients():
    rng = np.random.default_rng(0)
    shapes = SHAPES | {"bias": (3,)}
    return [{name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(3)]


def both():
    """(ours, Optax's own, which gives what it does not own to Adam and goes downhill)."""
    dimensions = muon.matrices(DECLARED)
    owners = {name: "muon" if name in SHAPES else "other" for name in DECLARED}
    own = optax.contrib.muon(1.0, beta=0.9, muon_weight_dimension_numbers=dimensions, consistent_rms=muon.STEP_RMS)
    pair = muon.direction(0.9, dimensions), optax.chain(own, optax.scale(-1.0))
    return [optax.partition({"muon": one, "other": optax.identity()}, owners) for one in pair]


def test_directions_and_states_are_those_of_one_matrix_after_another(gradients):
    found = []
    for transform in both():
        state, updates = transform.init(gradients[0]), []
        for gradient in gradients:
            update, state = jax.jit(transform.update)(gradient, state, gradient)
            updates.append(update)
        found.append((updates, state))
    (ours, our_state), (theirs, their_state) = found
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, theirs)
    # To the path and the last bit: checkpoints of either are checkpoints of both.
    paths = [jax.tree_util.tree_leaves_with_path(state) for state in (our_state, their_state)]
    assert [jax.tree_util.keystr(path) for path, _ in paths[0]] == [jax.tree_util.keystr(path) for path, _ in paths[1]]
    jax.tree.map(np.testing.assert_array_equal, [leaf for _, leaf in paths[0]], [leaf for _, leaf in paths[1]])


def test_a_matrix_without_a_gradient_stays(gradients):
    ours, _ = both()
    zeros = jax.tree.map(np.zeros_like, gradients[0])
    update, _ = jax.jit(ours.update)(zeros, ours.init(zeros), zeros)
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), update)


def test_matrices_of_a_shape_are_multiplied_together(gradients):
    ours, _ = both()
    program = jax.jit(ours.update).lower(gradients[0], ours.init(gradients[0]), gradients[0]).as_text("hlo")
    # Three matrices in one, the heads of all layers, the square one: three products each, in a loop.
    assert program.count(" dot(") == 3 * 3
