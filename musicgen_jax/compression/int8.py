"""A prior's matrices as int8: which weights, over which axes, and as they lie in a checkpoint."""

import dataclasses
from typing import Any

import jax

from musicgen_jax import config
from musicgen_jax.nn import modules, parameters
from musicgen_jax.priors import trained
from musicgen_jax.transformer import weights


def quantize_prior(prior: trained.TrainedPrior, activations: str = "float") -> trained.TrainedPrior:
    """Rounds the matrices of a prior to int8, with a float32 scale for each output channel.

    Args:
      prior: with float weights.
      activations: what the matrices are multiplied with, "float" or "int8"; see `weights.einsum`.

    Raises:
      UserError: the prior is quantized already.
    """
    config.require(
        prior.config.quantization.weights == "float",
        "this prior's weights are int8 already: pass the prior that they were made from",
    )
    quantization = config.QuantizationConfig(weights="int8", activations=activations)
    quantization.validate()
    params, buffers = prior.weights
    return dataclasses.replace(
        prior,
        config=dataclasses.replace(prior.config, quantization=quantization),
        weights=(quantize(params, prior.functional.declared, activations), buffers),
    )


def quantize(params: modules.Tree, declared: modules.Tree, activations: str = "float") -> modules.Tree:
    """Parameters of a model over codes, the matrices of its products as `weights.QuantizedArray`.

    Those are rounded that say so where they are made (`parameters.Declaration.int8`), over the axes that their products
    sum over. Float stay: the code embeddings and labels, of which a step reads one row, the norms and biases, and the
    convolutions over the tier above, which run once a window.

    Args:
      params: of the model.
      declared: what they are (`modules.Functional.declared`).
      activations: see `quantize_prior`.
    """

    def quantized(leaf: jax.Array, parameter: parameters.Declaration) -> jax.Array | weights.QuantizedArray:
        if parameter.int8 == parameters.NEVER:
            return leaf
        return weights.quantize(leaf, parameter.inputs, activations if parameter.int8 == parameters.BOTH else "float")

    return jax.tree.map(quantized, params, declared)


def stored(params: modules.Tree) -> modules.Tree:
    """Parameters as a checkpoint holds them: nested dicts, {"values", "scales"} where they are quantized."""

    def as_dict(leaf: Any) -> Any:
        return {"values": leaf.values, "scales": leaf.scales} if _is_quantized(leaf) else leaf

    return jax.tree.map(as_dict, params, is_leaf=_is_quantized)


def loaded(abstract: modules.Tree, params: modules.Tree) -> modules.Tree:
    """Inverse of `stored`; `abstract` are the shapes of its result."""

    def as_weight(like: Any, leaf: Any) -> Any:
        return dataclasses.replace(like, **leaf) if _is_quantized(like) else leaf

    return jax.tree.map(as_weight, abstract, params, is_leaf=_is_quantized)


def _is_quantized(leaf: Any) -> bool:
    return isinstance(leaf, weights.QuantizedArray)
