"""Logical axis names -> mesh axes. Model code names logical axes only; one `AxisRules` object maps them."""

import dataclasses
from typing import Any

import jax
from flax import nnx

MeshAxes = str | tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class AxisRules:
    """Which mesh axis (or axes) divides each logical axis; None leaves it whole.

    The defaults are fully sharded data parallelism with tensor parallelism inside a block (Megatron's layout):
    "fsdp" takes the residual width of every matrix, "tensor" takes heads and MLP columns, so each block needs one
    all-reduce over "tensor" after attention and one after the MLP.
    """

    batch: MeshAxes = ("data", "fsdp")  # examples
    sequence: MeshAxes = None  # codes of a window
    width: MeshAxes = "fsdp"  # residual width, in parameters
    residual: MeshAxes = None  # residual width, in activations
    heads: MeshAxes = "tensor"  # attention heads
    mlp: MeshAxes = "tensor"  # hidden units of the MLP
    codes: MeshAxes = "tensor"  # codebook entries of embeddings and logits
    layers: MeshAxes = None  # the stacked axis that lax.scan walks

    def spec(self, names: tuple[str | None, ...]) -> jax.sharding.PartitionSpec:
        """PartitionSpec of an array whose axes are called `names`.

        Raises:
          ValueError: an unknown name, or two axes of one array that fall on the same mesh axis.
        """
        known = [field.name for field in dataclasses.fields(self)]
        axes = []
        for name in names:
            if name is not None and name not in known:
                raise ValueError(f"unknown logical axis {name!r}: the rules know {', '.join(known)}")
            axes.append(None if name is None else getattr(self, name))
        used = [axis for entry in axes if entry is not None for axis in ((entry,) if isinstance(entry, str) else entry)]
        collisions = sorted({axis for axis in used if used.count(axis) > 1})
        if collisions:
            raise ValueError(
                f"logical axes {names} put mesh axis {', '.join(collisions)} on two dimensions of one array"
            )
        return jax.P(*axes)


def constrain(x: jax.Array, rules: AxisRules, names: tuple[str | None, ...]) -> jax.Array:
    """Pins the layout of an activation. Without a mesh in context (plain single-device use) it returns `x` as it is."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, rules.spec(names))


def logical_axes(variable: nnx.Variable) -> tuple[str | None, ...]:
    """Logical axis names that a parameter was declared with; all None where it was declared without."""
    names = variable.get_metadata().get("out_sharding")
    return tuple(names) if names is not None else (None,) * len(variable.get_value().shape)


def parameter_shardings(abstract_state: Any, rules: AxisRules, mesh: jax.sharding.Mesh) -> dict:
    """NamedSharding of every variable, as nested dicts of the same structure as `nnx.to_pure_dict(abstract_state)`.

    Raises:
      ValueError: a dimension that its mesh axes do not divide.
    """

    def sharding(path: tuple, variable: nnx.Variable) -> jax.sharding.NamedSharding:
        spec = rules.spec(logical_axes(variable))
        named = jax.sharding.NamedSharding(mesh, spec)
        shape = variable.get_value().shape
        try:
            named.shard_shape(shape)
        except ValueError as error:
            where = "/".join(str(getattr(key, "key", key)) for key in path)
            raise ValueError(
                f"parameter {where} of shape {shape} cannot be divided as {spec} on mesh {dict(mesh.shape)}: "
                "choose sizes that divide it"
            ) from error
        return named

    is_variable = lambda x: isinstance(x, nnx.Variable)  # noqa: E731
    tree = jax.tree_util.tree_map_with_path(sharding, abstract_state, is_leaf=is_variable)
    return nnx.to_pure_dict(tree) if isinstance(tree, nnx.State) else tree
