"""Logical axis names -> mesh axes. Model code names logical axes only; one `AxisRules` object maps them."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from musicgen_jax.runtime.errors import UserError

MeshAxes = str | tuple[str, ...] | None

LARGE = 2**20  # elements from which a parameter must be divided: 4 MiB in float32, as much again for each moment


@dataclasses.dataclass(frozen=True)
class AxisRules:
    """Which mesh axis (or axes) divides each logical axis; None leaves it whole.

    The defaults are fully sharded data parallelism with tensor parallelism inside a block (Megatron's layout):
    "fsdp" takes the residual width of every matrix, "tensor" takes heads and MLP columns, so each block needs one
    all-reduce over "tensor" after attention and one after the MLP.
    """

    batch: MeshAxes = ("replica", "data", "fsdp")  # examples
    sequence: MeshAxes = None  # codes of a window
    width: MeshAxes = "fsdp"  # residual width, in parameters
    residual: MeshAxes = None  # residual width, in activations
    residual_sequence: MeshAxes = None  # codes of a window between the blocks, where no head or column is divided
    heads: MeshAxes = "tensor"  # attention heads
    head_columns: MeshAxes = "tensor"  # columns of all heads together, head after head, in one matrix
    mlp: MeshAxes = "tensor"  # hidden units of the MLP
    codes: MeshAxes = "tensor"  # codebook entries of embeddings and logits
    distances: MeshAxes = None  # rows of a table of relative positions
    layers: MeshAxes = None  # the stacked axis that lax.scan walks
    storage: str | None = "fsdp"  # the longest of the dimensions that a large parameter's names leave whole

    def spec(self, names: tuple[str | None, ...]) -> jax.sharding.PartitionSpec:
        """PartitionSpec of an array whose axes are called `names`.

        Raises:
          UserError: an unknown name, or two axes of one array that fall on the same mesh axis.
        """
        known = [field.name for field in dataclasses.fields(self)]
        axes = []
        for name in names:
            if name is not None and name not in known:
                raise UserError(f"unknown logical axis {name!r}: the rules know {', '.join(known)}")
            axes.append(None if name is None else getattr(self, name))
        used = [axis for entry in axes for axis in _as_tuple(entry)]
        collisions = sorted({axis for axis in used if used.count(axis) > 1})
        if collisions:
            raise UserError(
                f"logical axes {names} put mesh axis {', '.join(collisions)} on two dimensions of one array"
            )
        return jax.P(*axes)


def constrain(x: jax.Array, rules: AxisRules, names: tuple[str | None, ...]) -> jax.Array:
    """Pins the layout of an activation. Without a mesh in context (plain single-device use) it returns `x` as it is.

    Mesh axes that do not divide their dimension leave it whole: 10 heads on a `tensor` axis of 8 are computed by all.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, dividing(rules.spec(names), x.shape, mesh))


def ways(axes: MeshAxes, mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh) -> int:
    """Into how many parts the mesh axes of one dimension divide it; axes that the mesh does not have count as 1."""
    return math.prod(mesh.shape.get(name, 1) for name in _as_tuple(axes))


def _as_tuple(axes: MeshAxes) -> tuple[str, ...]:
    return () if axes is None else (axes,) if isinstance(axes, str) else axes


def dividing(
    spec: jax.sharding.PartitionSpec, shape: tuple[int, ...], mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh
) -> jax.sharding.PartitionSpec:
    """`spec` without the entries whose mesh axes do not divide their dimension of `shape`."""
    return jax.P(*(axes if size % ways(axes, mesh) == 0 else None for axes, size in zip(spec, shape, strict=True)))


def logical_axes(variable: nnx.Variable) -> tuple[str | None, ...]:
    """Logical axis names that a parameter was declared with; all None where it was declared without."""
    names = variable.get_metadata().get("out_sharding")
    return tuple(names) if names is not None else (None,) * len(variable.get_value().shape)


def parameter_spec(
    names: tuple[str | None, ...], shape: tuple[int, ...], rules: AxisRules, mesh: jax.sharding.Mesh
) -> jax.sharding.PartitionSpec:
    """How a parameter lies on the mesh.

    As its names say, where the mesh axes divide their dimensions. In a parameter of `LARGE` elements or more, axes that
    do not divide theirs, and those of `storage` where nothing else uses them, go to the dimension that has the longest
    parts and that they divide, but never to the layers' own. A smaller parameter stays whole instead.

    Raises:
      UserError: an axis that divides no dimension of a large parameter.
    """
    wanted = rules.spec(names)
    placed = list(dividing(wanted, shape, mesh))
    if math.prod(shape) < LARGE:
        return jax.P(*placed)
    homeless = [axes for axes, kept in zip(wanted, placed, strict=True) if axes != kept]
    used = {axis for axes in wanted for axis in _as_tuple(axes)}
    optional = [rules.storage] if rules.storage not in (None, *used) else []
    for axes in (*homeless, *optional):
        parts = {i: shape[i] // ways(placed[i], mesh) for i, name in enumerate(names) if name != "layers"}
        fitting = [i for i, part in parts.items() if part % ways(axes, mesh) == 0]
        if fitting:
            best = max(fitting, key=lambda i: parts[i])
            placed[best] = axes if placed[best] is None else (*_as_tuple(placed[best]), *_as_tuple(axes))
        elif axes in homeless:
            sizes = " or ".join(str(part) for part in parts.values())
            raise UserError(f"mesh axis {axes} of size {ways(axes, mesh)} divides none of the dimensions {sizes}")
    return jax.P(*placed)


def parameter_shardings(abstract_state: Any, rules: AxisRules, mesh: jax.sharding.Mesh) -> dict:
    """NamedSharding of every variable, as nested dicts of the same structure as `nnx.to_pure_dict(abstract_state)`.

    Raises:
      UserError: a large parameter that a mesh axis cannot divide.
    """

    def sharding(path: tuple, variable: nnx.Variable) -> jax.sharding.NamedSharding:
        shape = variable.get_value().shape
        try:
            return jax.sharding.NamedSharding(mesh, parameter_spec(logical_axes(variable), shape, rules, mesh))
        except ValueError as error:
            where = "/".join(str(getattr(key, "key", key)) for key in path)
            raise UserError(
                f"parameter {where} of shape {shape} cannot be divided on mesh {dict(mesh.shape)}: {error}; choose "
                "a smaller axis (mesh.data takes the rest) or sizes that it divides"
            ) from error

    return map_variables(sharding, abstract_state)


def map_variables(function: Callable[[tuple, nnx.Variable], Any], abstract_state: Any) -> dict:
    """function(path, variable) of every variable, as nested dicts."""
    is_variable = lambda x: isinstance(x, nnx.Variable)  # noqa: E731
    tree = jax.tree_util.tree_map_with_path(function, abstract_state, is_leaf=is_variable)
    return nnx.to_pure_dict(tree) if isinstance(tree, nnx.State) else tree
