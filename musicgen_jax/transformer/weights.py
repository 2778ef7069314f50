"""Weights of matrix products: arrays as training has them or laid out for decoding, with an adapter, or int8."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax.nn import parameters
from musicgen_jax.nn.low_rank import LowRank
from musicgen_jax.sharding import meshes

LARGEST = 127  # symmetric: -128 has no counterpart
BLOCKS = 8  # of outputs: XLA multiplies a few rows with a batch of blocks up to twice as fast as with the whole


class LaidOut:
    """What stands for an array of floats, in an order of axes that suits products.

    A pytree whose leaves share the axes before those of the product, such as [layers], so that a scan or an index along
    these takes the same part of all.
    """

    values: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array that it stands for."""
        return jax.eval_shape(dense, self).shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.values.ndim

    def __getitem__(self, index: object) -> "LaidOut":
        """Of the axes before those of the product."""
        return jax.tree.map(lambda leaf: leaf[index], self)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QuantizedArray(LaidOut):
    """Integers and scales that stand for an array of floats.

    Attributes:
      values: int8, -127 .. 127, the axes that products sum over behind all others: products of few rows on CPUs read
        them up to twice as fast so.
      scales: float32, in the array's own order of axes, of size 1 along the axes that products sum over.
      summed: these axes of the array, counted from its end, in rising order.
      activations: "float" | "int8": what `einsum` multiplies the values with.
    """

    values: jax.Array
    scales: jax.Array
    summed: tuple[int, ...] = dataclasses.field(default=(-1,), metadata={"static": True})
    activations: str = dataclasses.field(default="float", metadata={"static": True})

    def astype(self, dtype: jnp.dtype) -> jax.Array:
        """The array that it stands for. Written out whole: `einsum` reads the int8 values instead."""
        values = jnp.moveaxis(self.values, _last(self.summed), self.summed)
        return (values.astype(jnp.float32) * self.scales).astype(dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OutputMajor(LaidOut):
    """A float array whose axes that products sum over lie behind all others.

    Products of a few rows on CPUs, where reading the weights is what takes time, read it up to three times as fast.

    Attributes:
      values: in this order of axes.
      summed: these axes of the array, counted from its end, in rising order.
    """

    values: jax.Array
    summed: tuple[int, ...] = dataclasses.field(metadata={"static": True})


Weight = jax.Array | QuantizedArray | OutputMajor | LowRank


def quantize(array: jax.Array, summed: tuple[int, ...], activations: str = "float") -> QuantizedArray:
    """Rounds to 255 levels, symmetric about 0: each output channel's largest magnitude becomes 127.

    Args:
      array: floating point.
      summed: axes that products sum over; every place along the other axes has its own scale.
      activations: see `QuantizedArray`.
    """
    summed = _rising(summed, array.ndim)
    array = array.astype(jnp.float32)
    largest = jnp.max(jnp.abs(array), axis=summed, keepdims=True)
    scales = jnp.where(largest > 0, largest, 1.0) / LARGEST
    values = jnp.moveaxis(jnp.round(array / scales).astype(jnp.int8), summed, _last(summed))
    return QuantizedArray(values, scales, summed, activations)


def _rising(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """Axes counted from the end, in rising order."""
    return tuple(sorted(axis % ndim - ndim for axis in axes))


def _last(axes: tuple[int, ...]) -> tuple[int, ...]:
    """As many axes, at the end."""
    return tuple(range(-len(axes), 0))


def for_few_rows(params: Any, declared: Any) -> Any:
    """Parameters of a model of which `einsum` will multiply few rows at a time: as they are but on CPUs.

    Args:
      params: of the model; quantized weights and adapters stay.
      declared: what they are (`modules.Functional.declared`). Weights that int8 may round are known to be taken by
        `einsum` alone: of these the matrices are laid out anew.
    """
    if meshes.platform() != "cpu":
        return params

    def laid_out(leaf: Weight, parameter: parameters.Declaration) -> Weight:
        if parameter.role != parameters.MATRIX or parameter.int8 == parameters.NEVER or not isinstance(leaf, jax.Array):
            return leaf
        summed = _rising(parameter.inputs, leaf.ndim)
        return OutputMajor(jnp.moveaxis(leaf, summed, _last(summed)), summed)

    return jax.tree.map(laid_out, params, declared, is_leaf=lambda leaf: isinstance(leaf, QuantizedArray | LowRank))


def dense(weight: Weight) -> jax.Array:
    """The array that a weight stands for, float32 where it is quantized."""
    if isinstance(weight, OutputMajor):
        return jnp.moveaxis(weight.values, _last(weight.summed), weight.summed)
    return weight.astype(jnp.float32) if isinstance(weight, QuantizedArray | LowRank) else weight


def matrices_as(tree: Any, dtype: jnp.dtype) -> Any:
    """A block whose float matrices are in the dtype that products convert them to; vectors and int8 stay."""

    def converted(leaf: Weight) -> Weight:
        return leaf if isinstance(leaf, QuantizedArray) or leaf.ndim < 2 else leaf.astype(dtype)

    return jax.tree.map(converted, tree, is_leaf=lambda leaf: isinstance(leaf, QuantizedArray))


def einsum(
    spec: str, x: jax.Array, weight: Weight, dtype: jnp.dtype, result_dtype: jnp.dtype | None = None
) -> jax.Array:
    """`jnp.einsum(spec, x, weight)` in `dtype`, whatever the weight's format.

    The scales of int8 weights multiply the product, not the weights: in float32, since a sum of float16 numbers times
    integers up to 127 may be beyond float16 while it lies inside with its scale. With `weight.activations` "int8" each
    row of x is rounded as well, by its own largest magnitude, and products are sums of integers. So they are on CPUs in
    any case: XLA would write the weights out as floats first, which takes twenty times as long as float weights do.
    There two int8 numbers stand for each of x, the second for what the first leaves: 15 bits.

    Args:
      spec: such as "btd,dnhk->btnhk". The letters of x that are summed are its last ones. Letters that an operand
        shares with the result stand in the same order in both; those of all three lead the weight. "..." may lead x and
        the result; "z" is taken.
      x: [B, ...].
      weight: an array; or quantized, or laid out anew, over the letters that are summed.
      dtype: of x.
      result_dtype: float32 for logits of every kind, which would lose in a narrow `dtype` what the softmax tells apart;
        None is `dtype`.
    """
    if isinstance(weight, LowRank):
        product = einsum(spec, x, weight.base, dtype, result_dtype)
        return product + weight.added(spec, x, dtype, product.dtype)
    if isinstance(weight, OutputMajor):
        return _products(spec, x[None], weight.values.astype(dtype), result_dtype or dtype, BLOCKS)[0]
    if not isinstance(weight, QuantizedArray):
        return jnp.einsum(spec, x, weight.astype(dtype), preferred_element_type=result_dtype)
    result_dtype = dtype if result_dtype is None else result_dtype
    letters, out = spec.split("->")
    x_letters, weight_letters = letters.split(",")
    scales = _over_result(weight.scales, weight_letters, out)
    if weight.activations == "float" and meshes.platform() != "cpu":
        return (_products(spec, x[None], weight.values.astype(dtype), jnp.float32)[0] * scales).astype(result_dtype)
    parts = _integer_parts(x, tuple(axis for axis, _ in _summed(x_letters, out)), weight.activations)
    products = _products(spec, jnp.stack([part.values for part in parts]), weight.values, jnp.int32)
    rows = [product * _over_result(part.scales, x_letters, out) for product, part in zip(products, parts, strict=True)]
    return (sum(rows) * scales).astype(result_dtype)


def _integer_parts(x: jax.Array, summed: tuple[int, ...], activations: str) -> list[QuantizedArray]:
    """x as a sum of quantized arrays, each with a scale for every row."""
    first = quantize(x, summed)
    if activations == "float":
        return [first, quantize(x - first.astype(jnp.float32), summed)]
    # XLA's product of a single row is a plain loop on CPUs, twenty times as slow as that of two.
    return [first, jax.tree.map(jnp.zeros_like, first)] if first.scales.size == 1 else [first]


def _products(spec: str, parts: jax.Array, values: jax.Array, dtype: jnp.dtype, most_blocks: int = 1) -> jax.Array:
    """The einsum of each part, along the first axis, with values whose axes that are summed lie behind all others.

    The values are taken in as many blocks as divide them, `most_blocks` at most.
    """
    letters, out = spec.split("->")
    x_letters, weight_letters = letters.split(",")
    summed = "".join(letter for _, letter in _summed(weight_letters, out))
    kept = "".join(letter for letter in weight_letters if letter not in summed)
    shared = "".join(letter for letter in kept if letter in x_letters)
    own = "z" + "".join(letter for letter in x_letters if letter not in shared + summed)
    rows = jnp.einsum(f"z{x_letters}->{shared}{own}{summed}", parts)
    row_axes, column_axes = rows.shape[: rows.ndim - len(summed)], values.shape[len(shared) : len(kept)]
    # As matrices, where letters are shared a batch of them: XLA would transpose or widen what has more axes every time.
    batch = (math.prod(values.shape[: len(shared)]),) if shared else ()
    size = math.prod(values.shape[len(kept) :])
    blocks = (number,) if (number := math.gcd(math.prod(column_axes), most_blocks)) > 1 else ()
    rows, columns = rows.reshape(*batch, -1, size), values.reshape(*batch, *blocks, -1, size)
    block = "k" if blocks else ""
    product = jnp.einsum(f"...ri,...{block}ci->...{block}rc", rows, columns, preferred_element_type=dtype)
    if blocks:
        product = jnp.moveaxis(product, -3, -2)
    product = product.reshape(*row_axes, *column_axes)
    return jnp.einsum(f"{shared}{own}{kept.removeprefix(shared)}->z{out}", product)


def _summed(letters: str, out: str) -> list[tuple[int, str]]:
    """The letters that are not in the result, with their axes, counted from the end."""
    letters = letters.removeprefix("...")
    return [(axis - len(letters), letter) for axis, letter in enumerate(letters) if letter not in out]


def _over_result(scales: jax.Array, letters: str, out: str) -> jax.Array:
    """An operand's scales, laid out to multiply the result."""
    kept = jnp.squeeze(scales, [axis for axis, _ in _summed(letters, out)])
    return jnp.expand_dims(kept, [axis for axis, _ in _summed(out, letters)])


class Linear(nnx.Linear):
    """`nnx.Linear` whose kernel may be any `Weight`; `axes` and `bias_axes` are the logical names of its axes."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        axes: tuple[str | None, ...] | None = None,
        bias_axes: tuple[str | None, ...] | None = None,
        **options: Any,
    ):
        super().__init__(inputs, outputs, **options)
        parameters.layer(self, axes, bias_axes, int8=parameters.BOTH)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., out]."""
        kernel = self.kernel[...]
        if isinstance(kernel, jax.Array):
            return super().__call__(x)
        product = einsum("...d,df->...f", x, kernel, self.dtype)
        return product if self.bias is None else product + self.bias[...].astype(self.dtype)
