"""What a parameter says of itself where it is made: the names of its axes, and what it is.

Optimizers, layouts on a mesh, int8, pruning and distillation read this and never a parameter's path: a matrix that is
added to a block is treated as one wherever it lies. `modules.Functional.declared` has the declarations as a tree.
"""

import dataclasses
from typing import TypeVar

import jax
from flax import nnx

from musicgen_jax.sharding import rules

MATRIX = "matrix"  # of a product inside the network: decays, and is Muon's
EMBEDDING = "embedding"  # table of vectors that are looked up or that a vector is compared with: decays
BIAS = "bias"  # what is added to a product or behind a norm
NORM = "norm"  # scale of a norm
VECTOR = "vector"  # anything else: the start of a sequence, an impulse response
ROLES = (MATRIX, EMBEDDING, BIAS, NORM, VECTOR)

# What of a product int8 may round: see `compression.int8`.
NEVER = "never"  # nothing; the product does not know int8
ALONE = "alone"  # the parameter, and not what it is multiplied with
BOTH = "both"  # the parameter, and what it is multiplied with where int8 activations are asked for

Layer = TypeVar("Layer", nnx.Linear, nnx.Conv, nnx.LayerNorm)


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What a parameter is.

    Attributes:
      role: one of `ROLES`.
      inputs: axes that a product with it sums over, counted from the end. An axis that is in neither `inputs` nor
        `outputs` numbers matrices that are independent of each other, as [layers] does.
      outputs: axes of what the product makes, counted from the end.
      int8: `NEVER`, `ALONE` or `BOTH`.
      axes: logical name of every axis, or None, for `sharding.rules.AxisRules`.
    """

    role: str
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    int8: str = NEVER
    axes: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        if self.role not in ROLES or self.int8 not in (NEVER, ALONE, BOTH):
            raise ValueError(f"{self}: an unknown role or use of int8")
        if (self.role == MATRIX and not self.outputs) or ((self.outputs or self.int8 != NEVER) and not self.inputs):
            raise ValueError(f"{self}: a matrix has inputs and outputs, and int8 needs the axes that are summed over")


def parameter(
    value: jax.Array,
    role: str,
    axes: tuple[str | None, ...] | None = None,
    *,
    inputs: tuple[int, ...] = (),
    outputs: tuple[int, ...] = (),
    int8: str = NEVER,
) -> nnx.Param:
    """A parameter that starts at `value`; see `Declaration`. `axes` of None leave all axes without a name."""
    return _declare(nnx.Param(value), Declaration(role, inputs, outputs, int8), axes)


def layer(
    made: Layer,
    axes: tuple[str | None, ...] | None = None,
    bias_axes: tuple[str | None, ...] | None = None,
    int8: str = NEVER,
) -> Layer:
    """A layer of Flax as it is, its parameters declared.

    Args:
      made: its kernel [..., in, out] is a matrix whose inputs are all axes but the last.
      axes: logical names of the kernel's axes.
      bias_axes: of the bias.
      int8: for the kernel.
    """
    if isinstance(made, nnx.LayerNorm):
        _declare(made.scale, Declaration(NORM), None)
    else:
        inputs = tuple(range(-len(made.kernel.shape), -1))
        _declare(made.kernel, Declaration(MATRIX, inputs, (-1,), int8), axes)
    if made.bias is not None:
        _declare(made.bias, Declaration(BIAS), bias_axes)
    return made


def declaration(variable: nnx.Variable) -> Declaration:
    """What `parameter` or `layer` declared of a parameter, with the axes that stacking has put before its own.

    Raises:
      ValueError: it was made without them.
    """
    found = variable.get_metadata().get("declared")
    if found is None:
        raise ValueError("a parameter that does not say what it is: make it by nn.parameters")
    return dataclasses.replace(found, axes=rules.logical_axes(variable))


def _declare(variable: nnx.Param, declared: Declaration, axes: tuple[str | None, ...] | None) -> nnx.Param:
    if axes is not None:
        variable.set_metadata(out_sharding=axes)
    variable.set_metadata(declared=declared)
    return variable
