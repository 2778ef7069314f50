"""Floating point operations of a training step: a multiplication and an addition are two.

Matrix products and convolutions only. What is left out (norms, softmax, optimizer) is bound by memory on every machine.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax

from musicgen_jax import config


@dataclasses.dataclass(frozen=True)
class StepFlops:
    """Operations of one step over the global batch.

    Attributes:
      model: that the mathematics asks for, forward and backward; shares of peak are of these.
      recomputed: that the backward pass does again to keep less in memory.
    """

    model: float
    recomputed: float


def prior_step_flops(model: config.PriorConfig, batch_size: int) -> StepFlops:
    """Of a prior, or of a diffusion model, whose codes see twice as many. Causal attention is counted as the half that
    it is; `model.transformer.remat` and `loss_chunk` decide what is done again."""
    transformer = model.transformer
    projections, logits, values = _block_macs(model)
    block = projections + 2 * logits + values  # codes and distances against the queries, then the mix
    output = transformer.width * model.num_codebooks * model.num_codes
    conditioner = _conditioner_macs(model) * model.context / model.num_steps
    forward = transformer.num_layers * block + output + conditioner
    again = {"none": 0.0, "dots": block - projections, "full": block, "offload": block}[transformer.remat]
    if transformer.attention != "reference":
        again += 2 * logits  # the backward pass of blockwise attention never had the logits of the forward pass
    recomputed = transformer.num_layers * again + (output if model.loss_chunk else 0)
    num_steps = batch_size * model.num_steps
    return StepFlops(model=6 * forward * num_steps, recomputed=2 * recomputed * num_steps)


def _block_macs(model: config.PriorConfig) -> tuple[float, float, float]:
    """Multiply-accumulates of a block for one step: projections and MLP, logits, values. Distances count as logits, up
    to the furthest that is known."""
    settings, context = model.transformer, model.num_steps
    inner = settings.num_heads * settings.head_dim
    projections = settings.width * (4 * inner + 2 * settings.mlp_width)
    limit = settings.window + 1 if settings.window else context
    ways = 2 if isinstance(model, config.DiffusionConfig) else 1
    seen = ways * _mean_seen(context, limit)
    distances = ways * _mean_seen(context, min(settings.max_distance or context, limit))
    return projections, inner * (seen + distances) / 2, inner * seen


def _mean_seen(context: int, limit: int) -> float:
    """Mean over the positions t of min(t + 1, limit)."""
    limit = min(limit, context)
    return (limit * (limit + 1) / 2 + (context - limit) * limit) / context


def _conditioner_macs(model: config.PriorConfig) -> float:
    """Of an upsampler's conditioner, for each frame of this tier."""
    if not model.upsampling:
        return 0.0
    width, depth = model.conditioner.width, model.conditioner.depth
    residual = depth * (3 + 1) * width**2 / model.upsampling
    doublings = int(math.log2(model.upsampling))
    # A transposed convolution of 4 taps and stride 2 has two products for each output.
    upsampling = sum(2 * width**2 / 2**step for step in range(doublings))
    return residual + upsampling + width * model.transformer.width


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
    """The programs inside an equation; those of a custom gradient come as functions and are left out."""
    return [value for value in params.values() if hasattr(getattr(value, "jaxpr", value), "eqns")]


def _dot_flops(equation: Any) -> float:
    left = equation.invars[0].aval.shape
    contracted = math.prod(left[axis] for axis in equation.params["dimension_numbers"][0][0])
    return 2.0 * contracted * equation.outvars[0].aval.size


def _convolution_flops(equation: Any) -> float:
    kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec
    taps = math.prod(kernel[axis] for axis in numbers[2:]) / math.prod(equation.params["lhs_dilation"])
    return 2.0 * taps * kernel[numbers[1]] * equation.outvars[0].aval.size
