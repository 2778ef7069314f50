"""NNX modules as plain pytrees: built once, then `jax.jit` over dicts of arrays. No RNG state lives in a module."""

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from flax import nnx

from musicgen_jax.nn import parameters
from musicgen_jax.sharding import rules

Tree = dict[str, Any]


class Keys:
    """A source of random keys for a module's initial parameters: those of `nnx.Rngs`, but counted in Python.

    The counter of `nnx.Rngs` is an array. Under a trace every draw makes Flax write a message about the program so far
    in case the draw is not allowed, so that tracing a module takes time quadratic in its number of parameters: 37 s
    instead of 3 for the published VQ-VAE.
    """

    def __init__(self, key: jax.Array):
        self._key, self._count = key, 0

    def params(self) -> jax.Array:
        """The next key, for a parameter's initial values."""
        self._count += 1
        return jax.random.fold_in(self._key, self._count - 1)


class Functional:
    """Splits a module into its static graph, its parameters (`nnx.Param`) and its buffers (every other variable).

    The module is built abstractly, so that constructing this object allocates nothing. Where its class has a function
    `stored_path`, (attribute, ...) -> path, every tree outside of the module has its variables there: so checkpoints
    outlive a module's being taken apart into others.

    Attributes:
      abstract_params, abstract_buffers: `nnx.State`s of shapes.
      declared: `parameters.Declaration` of every parameter, structured as what `init` returns first.
      frozen: shapes of the parameters that lie beside those of `init` and do not learn; see `adapters.Adapted`.
    """

    frozen: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, build: Callable[[Keys], nnx.Module]):
        nnx.use_eager_sharding(False)  # shardings come from `AxisRules`, not from a mesh in context
        self._build = build
        # Nor from one that a caller has set already: it knows no names of logical axes.
        with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
            abstract = nnx.eval_shape(lambda: build(Keys(jax.random.key(0))))
        self._stored_path = getattr(type(abstract), "stored_path", None)
        self._graph, *self._abstract = nnx.split(abstract, nnx.Param, ...)
        self.abstract_params, self.abstract_buffers = (self._stored(state) for state in self._abstract)
        self.declared: Tree = rules.map_variables(lambda _, param: parameters.declaration(param), self.abstract_params)

    def init(self, key: jax.Array) -> tuple[Tree, Tree]:
        """Fresh (parameters, buffers) as nested dicts of arrays; pure, so it can be jitted with `out_shardings`."""
        _, params, buffers = nnx.split(self._build(Keys(key)), nnx.Param, ...)
        return nnx.to_pure_dict(self._stored(params)), nnx.to_pure_dict(self._stored(buffers))

    def bind(self, params: Tree, buffers: Tree) -> nnx.Module:
        """The module with these values. Mutations of it stay in it: read them back with `buffers_of`."""
        parts = []
        for abstract, values in zip(self._abstract, (params, buffers), strict=True):
            state = jax.tree.map(lambda x: x, abstract)  # a copy of the structure
            if self._stored_path:
                flat = nnx.traversals.flatten_mapping(values)
                own = {path: flat[self._stored_path(path)] for path, _ in nnx.to_flat_state(abstract)}
                values = nnx.traversals.unflatten_mapping(own)
            nnx.replace_by_pure_dict(state, values)
            parts.append(state)
        return nnx.merge(self._graph, *parts)

    def buffers_of(self, module: nnx.Module) -> Tree:
        """The buffers of a module that `bind` returned, as nested dicts."""
        return nnx.to_pure_dict(self._stored(nnx.split(module, nnx.Param, ...)[2]))

    def _stored(self, state: nnx.State) -> nnx.State:
        """A module's state with its variables at the paths where trees outside of it, and checkpoints, have them."""
        if self._stored_path is None:
            return state
        return nnx.from_flat_state([(self._stored_path(path), leaf) for path, leaf in nnx.to_flat_state(state)])

    def shardings(self, axis_rules: rules.AxisRules, mesh: jax.sharding.Mesh) -> tuple[Tree, Tree]:
        """NamedSharding of every parameter and buffer, structured as what `init` returns."""
        return (
            rules.parameter_shardings(self.abstract_params, axis_rules, mesh),
            rules.parameter_shardings(self.abstract_buffers, axis_rules, mesh),
        )

    def whole(self, params: Tree, frozen: Tree, merged: bool = False) -> Tree:
        """What `bind` takes, of the parameters that learn and of those that are `frozen`: here all learn."""
        return params

    def frozen_shardings(self, axis_rules: rules.AxisRules, mesh: jax.sharding.Mesh) -> Tree:
        """NamedSharding of every frozen parameter: here there are none."""
        return {}

    def num_parameters(self) -> int:
        """Number of trainable scalars; buffers such as codebooks are not counted."""
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.to_pure_dict(self.abstract_params)))


def fingerprint(params: Tree, buffers: Tree) -> str:
    """Hexadecimal digest of all weights, 16 characters: models that differ in one number differ in it."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path((params, buffers)):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]
