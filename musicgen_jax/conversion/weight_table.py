"""Which array of a published file lies where in the native model: a table, read in both directions.

A model's table is a list of `Weight`. Two weights with one path are tied: the published file writes the same array
under both names, or under one of them.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from musicgen_jax import config

Path = tuple[str | int, ...]
Tree = dict[str | int, Any]


@dataclasses.dataclass(frozen=True)
class Weight:
    """One array of a published file.

    Attributes:
      name: its key there, in the grammar of the original release.
      path: where it lies in the native nested dict {"params": ..., "buffers": ...}.
      permutation: of `np.transpose`, published axes -> native axes; None keeps them.
      flip: native axes that run the other way round in the published array.
      ones: published axes of length 1 that ours lacks.
    """

    name: str
    path: Path
    permutation: tuple[int, ...] | None = None
    flip: tuple[int, ...] = ()
    ones: tuple[int, ...] = ()

    def native(self, array: np.ndarray) -> np.ndarray:
        """Published array -> native layout; a view."""
        array = np.squeeze(array, self.ones)
        # np.transpose without axes would reverse them.
        return np.flip(array if self.permutation is None else np.transpose(array, self.permutation), self.flip)

    def published(self, array: np.ndarray) -> np.ndarray:
        """An array of ours with the shape and order of axes of the published file; inverse of `native`, and a view."""
        array = np.flip(array, self.flip)
        array = array if self.permutation is None else np.transpose(array, np.argsort(self.permutation))
        return np.expand_dims(array, self.ones)

    def published_shape(self, native_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape in the published file of an array whose native shape this is."""
        return self.published(np.broadcast_to(np.float32(0), native_shape)).shape


def convolution(name: str, path: Path) -> list[Weight]:
    """Kernel and bias of a 1-D convolution: torch (out, in, taps) -> ours (taps, in, out)."""
    return [Weight(f"{name}.weight", (*path, "kernel"), (2, 1, 0)), Weight(f"{name}.bias", (*path, "bias"))]


def projection(name: str, path: Path) -> list[Weight]:
    """Kernel and bias of a 1-D convolution of one tap: torch (out, in, 1) -> a linear layer's (in, out)."""
    return [
        Weight(f"{name}.weight", (*path, "kernel"), (1, 0), ones=(2,)),
        Weight(f"{name}.bias", (*path, "bias")),
    ]


def upsampling(name: str, path: Path) -> list[Weight]:
    """Kernel and bias of a transposed convolution: torch (in, out, taps) -> `resnet.Upsampling`'s [taps, in, out].

    Torch counts a tap from the input it spreads, ours from the first input that an output sees: the reverse order.
    """
    return [Weight(f"{name}.weight", (*path, "kernel"), (2, 0, 1), flip=(0,)), Weight(f"{name}.bias", (*path, "bias"))]


def differences(table: Iterable[Weight], tensors: Mapping[str, Any], abstract: Tree) -> list[str]:
    """Every missing, unexpected or mis-shaped key, a line each; reads shapes only.

    Args:
      table: of the model.
      tensors: {published name: anything with a shape}.
      abstract: nested dict of arrays or ShapeDtypeStructs that has at least the table's paths.
    """
    by_path = _by_path(table)
    lines = [
        f"missing {' or '.join(weight.name for weight in tied)}"
        for tied in by_path.values()
        if not any(weight.name in tensors for weight in tied)
    ]
    known = {weight.name: weight for tied in by_path.values() for weight in tied}
    lines += [f"unexpected {name}" for name in tensors if name not in known]
    for name, weight in known.items():
        if name in tensors:
            wanted = weight.published_shape(leaf(abstract, weight.path).shape)
            found = tuple(tensors[name].shape)
            lines += [f"{name} has shape {list(found)}, not {list(wanted)}"] if found != wanted else []
    return lines


def to_native(table: Iterable[Weight], tensors: Mapping[str, Any], abstract: Tree) -> Tree:
    """Published arrays -> nested dict of NumPy arrays of the native shapes and dtypes.

    Tensors are read one by one, so that memory holds the result and one tensor.

    Args:
      table: of the model.
      tensors: {published name: array, or anything with a shape that `np.asarray` reads}.
      abstract: nested dict of arrays or ShapeDtypeStructs that has at least the table's paths.

    Returns:
      The table's paths.

    Raises:
      UserError: keys are missing, unexpected or mis-shaped, or tied weights differ; everything is listed.
    """
    require_none(differences(table, tensors, abstract))
    tree: Tree = {}
    unequal = []
    for path, tied in _by_path(table).items():
        first, *others = [weight for weight in tied if weight.name in tensors]
        array = np.asarray(tensors[first.name])
        unequal += [
            f"{other.name} differs from {first.name}, to which it is tied"
            for other in others
            if not np.array_equal(other.native(np.asarray(tensors[other.name])), first.native(array))
        ]
        *parents, last = path
        owner = tree
        for key in parents:
            owner = owner.setdefault(key, {})
        owner[last] = np.ascontiguousarray(first.native(array), leaf(abstract, path).dtype)
    require_none(unequal)
    return tree


def to_published(table: Iterable[Weight], tree: Tree) -> dict[str, np.ndarray]:
    """Inverse of `to_native`: {published name: array}, views where the layout allows; tied weights under all names."""
    return {weight.name: weight.published(np.asarray(leaf(tree, weight.path))) for weight in table}


def unstacked(tree: Tree, path: Path, count: int) -> Tree:
    """A tree in which each array below `path`, whose leading axis numbers `count` layers, is {layer: array}: tables of
    published files, which have an array a layer, point into it."""

    def taken(array: Any, layer: int) -> Any:
        shape_alone = isinstance(array, jax.ShapeDtypeStruct)
        return jax.ShapeDtypeStruct(array.shape[1:], array.dtype) if shape_alone else array[layer]

    return _changed_below(tree, path, lambda array: {layer: taken(array, layer) for layer in range(count)})


def stacked(tree: Tree, path: Path) -> Tree:
    """Inverse of `unstacked`; the layers' arrays are copied, array by array."""

    def joined(layers: Tree) -> np.ndarray:
        return np.stack([layers.pop(layer) for layer in sorted(layers)])

    return _changed_below(tree, path, joined, lambda node: 0 in node)


def _changed_below(
    tree: Tree, path: Path, change: Callable[[Any], Any], is_leaf: Callable[[Tree], bool] = lambda node: False
) -> Tree:
    """The tree with `change` of every leaf below `path`."""
    if path:
        return tree | {path[0]: _changed_below(tree[path[0]], path[1:], change, is_leaf)}
    return {
        key: _changed_below(node, (), change, is_leaf) if isinstance(node, dict) and not is_leaf(node) else change(node)
        for key, node in tree.items()
    }


def leaf(tree: Tree, path: Path) -> Any:
    """The array, or subtree, that lies at `path` in a tree of nested dicts."""
    for key in path:
        tree = tree[key]
    return tree


def require_none(lines: list[str]) -> None:
    """One UserError with all `lines`, if there are any."""
    config.require(
        not lines,
        f"the file does not fit the model, {len(lines)} differences; pass the file of a published model, whole and "
        f"unchanged: {'; '.join(lines)}",
    )


def _by_path(table: Iterable[Weight]) -> dict[Path, list[Weight]]:
    grouped = collections.defaultdict(list)
    for weight in table:
        grouped[weight.path].append(weight)
    return dict(grouped)
