"""Floating point operations of a training step: a multiplication and an addition are two.

Matrix products and convolutions only. What is left out (norms, softmax, optimizer) is bound by memory on every machine.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class StepFlops:
    """Operations of one step over the global batch.

    Attributes:
      model: that the mathematics asks for, forward and backward; shares of peak are of these.
      recomputed: that the backward pass does again to keep less in memory.
    """

    model: float
    recomputed: float


def traced_flops(function: Callable, *arguments: Any) -> float:
    """Operations of `function(*arguments)`, counted in its program; arguments may be ShapeDtypeStructs.

    A scan counts for all its turns, a `while` for one, a conditional for its dearest branch.
    """
    return _jaxpr_flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def _jaxpr_flops(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _dot_flops(equation)
        elif name == "conv_general_dilated":
            total += _convolution_flops(equation)
        elif name == "cond":
            total += max(_jaxpr_flops(branch.jaxpr) for branch in params["branches"])
        else:
            inner = sum(_jaxpr_flops(getattr(part, "jaxpr", part)) for part in _programs(params))
            total += inner * params.get("length", 1) if name == "scan" else inner
    return total


def _programs(params: dict[str, Any]) -> list[Any]:
    """The programs that an equation of a traced program calls; those of a custom gradient are functions, left out."""
    return [value for value in params.values() if hasattr(getattr(value, "jaxpr", value), "eqns")]


def _dot_flops(equation: Any) -> float:
    left = equation.invars[0].aval.shape
    contracted = math.prod(left[axis] for axis in equation.params["dimension_numbers"][0][0])
    return 2.0 * contracted * equation.outvars[0].aval.size


def _convolution_flops(equation: Any) -> float:
    kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec
    taps = math.prod(kernel[axis] for axis in numbers[2:]) / math.prod(equation.params["lhs_dilation"])
    return 2.0 * taps * kernel[numbers[1]] * equation.outvars[0].aval.size
