"""Adapters of a model's matrices (LoRA, Hu et al. 2021): they learn, the model that they are made for stays."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax.nn import modules, parameters
from musicgen_jax.nn.low_rank import LowRank
from musicgen_jax.nn.parameters import MATRIX, Declaration
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sharding import rules

Tree = modules.Tree

# What may have adapters: matrices one of whose axes has one of these names; with no names, all that a module has.
TARGETS: dict[str, tuple[str, ...]] = {"attention": ("heads", "head_columns"), "mlp": ("mlp",), "all": ()}
DOWN, UP = "down", "up"


class Adapted(modules.Functional):
    """A module whose parameters are the adapters of its matrices; its own are `frozen`, and lie apart.

    Where the module multiplies with a matrix W, it now does with W + alpha / rank * down @ up. `down` starts at random
    and `up` at zero, so that the module starts as what it was. Which matrices there are, and what their axes are, is
    read off the declarations: any module of declared parameters can have adapters.

    Attributes:
      base: the module with parameters of its own.
      declared: of the adapters: nested dicts as the base's, {"down", "up"} in the place of each targeted matrix.
      frozen: shapes of the base's parameters.
    """

    def __init__(self, base: modules.Functional, rank: int, alpha: float, targets: Sequence[str]):
        """Args:
        base: the module, without buffers.
        rank: R, columns of each `down`.
        alpha: of the scale alpha / rank.
        targets: names in `TARGETS`.

        Raises:
          UserError: a rank that is not less than a matrix's own, or nothing that is targeted.
        """
        self.base, self.scale, self.abstract_buffers = base, alpha / rank, base.abstract_buffers
        if jax.tree.leaves(base.abstract_buffers):
            raise ValueError("a module with buffers: they would learn, and belong to both")
        self.frozen = nnx.to_pure_dict(base.abstract_params)
        found = _adapters(base.declared, self.frozen, rank, tuple(targets))
        if not found:
            raise UserError(f"lora.targets={','.join(targets)}: this model has no such matrices; all takes all it has")
        self.declared = jax.tree.map(lambda part: part[0], found, is_leaf=_is_pair)
        self._shapes = jax.tree.map(lambda part: part[1], found, is_leaf=_is_pair)

    def init(self, key: jax.Array) -> tuple[Tree, Tree]:
        """Fresh (adapters, no buffers): `down` normal with variance 1 / inputs, `up` zero."""
        keys = modules.Keys(key)

        def fresh(path: tuple, declared: Declaration, leaf: jax.ShapeDtypeStruct) -> jax.Array:
            if path[-1].key == UP:
                return jnp.zeros(leaf.shape, leaf.dtype)
            size = math.prod(leaf.shape[axis] for axis in declared.inputs)
            return jax.random.normal(keys.params(), leaf.shape, leaf.dtype) / size**0.5

        return jax.tree_util.tree_map_with_path(fresh, self.declared, self._shapes), {}

    def whole(self, params: Tree, frozen: Tree, merged: bool = False) -> Tree:
        """All parameters of the base, as `bind` takes them.

        Args:
          params: the adapters.
          frozen: the base's parameters.
          merged: write every matrix out; else those stay `LowRank` whose products know it, and cost no copy.
        """

        def joined(declared: Any, base: Any, adapter: Any) -> Any:
            if isinstance(declared, dict):
                return {name: joined(declared[name], base[name], adapter.get(name, {})) for name in declared}
            if not adapter:
                return base
            _, inputs, outputs = _axes(declared, base.ndim)
            pair = LowRank(base, adapter[DOWN], adapter[UP], self.scale, inputs, outputs)
            # Products that know int8 go through `transformer.weights.einsum`, which knows this too.
            return pair.merged() if merged or declared.int8 == parameters.NEVER else pair

        return joined(self.base.declared, frozen, params)

    def bind(self, params: Tree, buffers: Tree) -> nnx.Module:
        """The module with parameters from `whole`."""
        return self.base.bind(params, buffers)

    def buffers_of(self, module: nnx.Module) -> Tree:
        """None: {}."""
        return self.base.buffers_of(module)

    def shardings(self, axis_rules: rules.AxisRules, mesh: jax.sharding.Mesh) -> tuple[Tree, Tree]:
        """NamedSharding of every adapter, whose axes have the names of the matrix's own; no buffers."""

        def placed(declared: Declaration, leaf: jax.ShapeDtypeStruct) -> jax.sharding.NamedSharding:
            return jax.sharding.NamedSharding(mesh, rules.parameter_spec(declared.axes, leaf.shape, axis_rules, mesh))

        return jax.tree.map(placed, self.declared, self._shapes), {}

    def frozen_shardings(self, axis_rules: rules.AxisRules, mesh: jax.sharding.Mesh) -> Tree:
        """NamedSharding of every parameter of the base."""
        return self.base.shardings(axis_rules, mesh)[0]

    def num_parameters(self) -> int:
        """Number of scalars of the adapters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self._shapes))


def _is_pair(node: Any) -> bool:
    return isinstance(node, tuple)


def _adapters(declared: Tree, shapes: Tree, rank: int, targets: tuple[str, ...]) -> Tree:
    """{"down", "up"} -> (declaration, shape), nested as the targeted matrices are."""
    found = {}
    for name, one in declared.items():
        if isinstance(one, dict):
            inner = _adapters(one, shapes[name], rank, targets)
            found |= {name: inner} if inner else {}
        elif one.role == MATRIX and any(not TARGETS[target] or {*TARGETS[target]} & {*one.axes} for target in targets):
            found[name] = _adapter(one, shapes[name].shape, rank)
    return found


def _adapter(declared: Declaration, shape: tuple[int, ...], rank: int) -> dict[str, tuple]:
    own, inputs, outputs = _axes(declared, len(shape))
    sizes = [math.prod(shape[axis] for axis in axes) for axes in (inputs, outputs)]
    if rank >= min(sizes):
        raise UserError(
            f"lora.rank={rank}: must be less than {min(sizes)}, for it targets matrices of {sizes[0]} x {sizes[1]}"
        )

    def told(axes: tuple[int | None, ...], inputs: int, outputs: int) -> tuple[Declaration, jax.ShapeDtypeStruct]:
        names = tuple(None if axis is None else declared.axes[axis] for axis in axes)
        made = tuple(range(-outputs, 0))
        summed = tuple(range(-outputs - inputs, -outputs))
        size = tuple(rank if axis is None else shape[axis] for axis in axes)
        return Declaration(MATRIX, summed, made, axes=names), jax.ShapeDtypeStruct(size, jnp.float32)

    return {
        DOWN: told((*own, *inputs, None), len(inputs), 1),
        UP: told((*own, None, *outputs), 1, len(outputs)),
    }


def _axes(declared: Declaration, ndim: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A matrix's axes, counted from its end and in rising order: the independent ones, inputs, outputs."""
    inputs, outputs = tuple(sorted(declared.inputs)), tuple(sorted(declared.outputs))
    return tuple(axis for axis in range(-ndim, 0) if axis not in inputs + outputs), inputs, outputs
