"""Muon's direction (Jordan et al. 2024): momentum whose matrices are orthogonalised, those of a shape all together.

A model of many small layers, such as the VQ-VAE, has a hundred matrices of a dozen shapes. One by one, the compiler
would work on each for longer than on the layer that it belongs to.
"""

import collections
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from musicgen_jax.nn import modules, parameters

STEP_RMS = 0.2  # root mean square of a typical step of Adam at learning rate 1 (Liu et al. 2025, section 2.2)
NUM_ITERATIONS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)  # of Newton and Schulz, by Jordan et al. 2024

Axes = optax.contrib.MuonDimensionNumbers


def matrices(declared: modules.Tree) -> modules.Tree:
    """Which axes of each parameter are the inputs and outputs of a matrix that Muon orthogonalises; None: Adam's.

    Queries, keys and values are three matrices; the taps and channels of a convolution are inputs together. Embeddings,
    logits, tables of distances, biases and norms are Adam's.
    """

    def axes(parameter: parameters.Declaration) -> Axes | None:
        if parameter.role != parameters.MATRIX:
            return None
        return Axes(parameter.inputs, parameter.outputs)

    return jax.tree.map(axes, declared)


def is_axes(x: Any) -> bool:
    """Whether something is a leaf of `matrices`."""
    return x is None or isinstance(x, Axes)


def direction(beta: float, dimensions: modules.Tree) -> optax.GradientTransformation:
    """Orthogonalised momentum with Nesterov's look ahead, uphill, as large as a step of Adam.

    Args:
      beta: decay of the momentum.
      dimensions: from `matrices`; parameters whose entry is None are none of its own.
    """
    # Without iterations Optax's own is normalised momentum. It keeps the state that checkpoints have.
    momentum = optax.contrib.muon(1.0, beta=beta, ns_steps=0, muon_weight_dimension_numbers=dimensions)
    return optax.chain(momentum, optax.stateless(lambda updates, _: _orthogonalized(updates, dimensions)))


def _orthogonalized(updates: Any, dimensions: modules.Tree) -> Any:
    """Orthogonalises the momentum that `optax.contrib.muon` without iterations returns."""
    leaves, structure = jax.tree.flatten(updates)
    owned = [axes for axes in jax.tree.leaves(dimensions, is_leaf=is_axes) if axes is not None]
    normalized = [_as_matrices(leaf, axes) for leaf, axes in zip(leaves, owned, strict=True)]
    together = collections.defaultdict(list)
    for index, found in enumerate(normalized):
        # The layers of a scanned stack are many in one parameter. To put such together would only take memory.
        together[found.shape, found.dtype, index if len(found) > 1 else None].append(index)
    for indices in together.values():
        found = newton_schulz(jnp.concatenate([normalized[index] for index in indices]))
        for index, part in zip(indices, jnp.split(found, len(indices)), strict=True):
            normalized[index] = part
    both = zip(normalized, leaves, owned, strict=True)
    return structure.unflatten([_from_matrices(found, leaf.shape, axes) for found, leaf, axes in both])


def newton_schulz(x: jax.Array) -> jax.Array:
    """[N, m, n], m <= n, of Frobenius norm 1 or less each -> about the nearest matrices with orthonormal rows."""
    a, b, c = COEFFICIENTS

    def iterate(_: int, x: jax.Array) -> jax.Array:
        gram = x @ x.mT
        return a * x + (b * gram + c * gram @ gram) @ x

    return jax.lax.fori_loop(0, NUM_ITERATIONS, iterate, x)


def _as_matrices(update: jax.Array, axes: Axes) -> jax.Array:
    """The matrices of one parameter, downhill and in Optax's size -> [N, m, n], m <= n, uphill and normalised."""
    order, fan_in, fan_out = _layout(update.shape, axes)
    found = update.transpose(order).reshape(-1, fan_in, fan_out) / -math.sqrt(max(1, fan_out / fan_in))
    return found.mT if fan_in > fan_out else found


def _from_matrices(found: jax.Array, shape: tuple[int, ...], axes: Axes) -> jax.Array:
    """The inverse, in the size of a step of Adam."""
    order, fan_in, fan_out = _layout(shape, axes)
    found = (found.mT if fan_in > fan_out else found) * (STEP_RMS * math.sqrt(max(fan_in, fan_out)))
    return found.reshape([shape[axis] for axis in order]).transpose(sorted(range(len(order)), key=order.__getitem__))


def _layout(shape: tuple[int, ...], axes: Axes) -> tuple[tuple[int, ...], int, int]:
    """(the axes of a parameter with those of its matrices last, inputs before outputs; numbers of the two)."""
    inputs, outputs = ([axis % len(shape) for axis in part] for part in (axes.reduction_axis, axes.output_axis))
    rest = [axis for axis in range(len(shape)) if axis not in (*inputs, *outputs)]
    sizes = (math.prod(shape[axis] for axis in part) for part in (inputs, outputs))
    return (*rest, *inputs, *outputs), *sizes
