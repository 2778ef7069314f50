"""Layouts against their definitions, and one error for everything that does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax.conversion import weight_table
from musicgen_jax.nn import resnet

TABLE = [
    weight_table.Weight("embedding.weight", ("params", "tokens")),
    weight_table.Weight("out.weight", ("params", "tokens")),  # tied
    *weight_table.convolution("conv", ("params", "blocks", 0)),
]
ABSTRACT = {
    "params": {
        "tokens": jax.ShapeDtypeStruct((5, 2), jnp.float32),
        "blocks": {
            0: {"kernel": jax.ShapeDtypeStruct((3, 2, 4), jnp.float32), "bias": jax.ShapeDtypeStruct((4,), jnp.float32)}
        },
    }
}


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((5, 2)).astype(np.float32)
    return {
        "embedding.weight": embedding,
        "out.weight": embedding.copy(),
        "conv.weight": rng.standard_normal((4, 2, 3)).astype(np.float32),
        "conv.bias": np.ones(4, np.float32),
    }


def torch_convolution(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """The definition, [T, in] and (out, in, taps) -> [T', out]."""
    x = np.pad(x, [(pad, pad), (0, 0)])
    taps = kernel.shape[2]
    frames = [x[start : start + taps] for start in range(0, len(x) - taps + 1, stride)]
    return np.stack([np.einsum("ti,oit->o", frame, kernel) + bias for frame in frames])


def torch_transposed_convolution(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The definition at stride 2, 4 taps and padding 1, [T, in] and (in, out, taps) -> [2T, out]."""
    padded = np.zeros((2 * len(x) + 2, kernel.shape[1]))
    for t, frame in enumerate(x):
        padded[2 * t : 2 * t + 4] += np.einsum("i,iok->ko", frame, kernel)
    return padded[1:-1] + bias


def test_convolution_is_torchs():
    rng = np.random.default_rng(1)
    x, kernel, bias = rng.standard_normal((10, 2)), rng.standard_normal((3, 2, 4)), rng.standard_normal(3)
    module = resnet.Downsampling(2, 3, dtype=jnp.float32, rngs=nnx.Rngs(0))
    kernel_weight, bias_weight = weight_table.convolution("conv", ())
    module.conv.kernel[...] = jnp.asarray(kernel_weight.native(kernel), jnp.float32)
    module.conv.bias[...] = jnp.asarray(bias_weight.native(bias), jnp.float32)
    expected = torch_convolution(x, kernel, bias, stride=2, pad=1)
    np.testing.assert_allclose(module(jnp.asarray(x[None], jnp.float32))[0], expected, atol=1e-5)


def test_upsampling_is_torchs_transposed_convolution():
    rng = np.random.default_rng(2)
    x, kernel, bias = rng.standard_normal((6, 3)), rng.standard_normal((3, 2, 4)), rng.standard_normal(2)
    module = resnet.Upsampling(3, 2, dtype=jnp.float32, rngs=nnx.Rngs(0))
    kernel_weight, bias_weight = weight_table.upsampling("conv", ())
    module.kernel[...] = jnp.asarray(kernel_weight.native(kernel), jnp.float32)
    module.bias[...] = jnp.asarray(bias_weight.native(bias), jnp.float32)
    expected = torch_transposed_convolution(x, kernel, bias)
    np.testing.assert_allclose(module(jnp.asarray(x[None], jnp.float32))[0], expected, atol=1e-5)


@pytest.mark.parametrize("weight", [*weight_table.convolution("c", ()), *weight_table.upsampling("u", ())])
def test_published_undoes_native(weight):
    array = np.arange(24.0).reshape(2, 3, 4) if weight.name.endswith("weight") else np.arange(3.0)
    np.testing.assert_array_equal(weight.published(weight.native(array)), array)
    assert weight.published_shape(weight.native(array).shape) == array.shape


def test_there_and_back():
    tree = weight_table.to_native(TABLE, tensors(), ABSTRACT)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), ABSTRACT
    )
    published = weight_table.to_published(TABLE, tree)
    assert published.keys() == tensors().keys()
    for name, array in tensors().items():
        np.testing.assert_array_equal(published[name], array)


def test_half_precision_widens_without_loss():
    half = {name: array.astype(np.float16) for name, array in tensors().items()}
    tree = weight_table.to_native(TABLE, half, ABSTRACT)
    assert tree["params"]["tokens"].dtype == np.float32
    np.testing.assert_array_equal(tree["params"]["tokens"], half["out.weight"])


@pytest.mark.parametrize("absent", ["embedding.weight", "out.weight"])
def test_a_tied_weight_may_be_there_once(absent):
    found = tensors()
    del found[absent]
    np.testing.assert_array_equal(
        weight_table.to_native(TABLE, found, ABSTRACT)["params"]["tokens"], tensors()["out.weight"]
    )


def test_tied_weights_that_differ_are_refused():
    found = tensors()
    found["out.weight"][3, 1] += 1e-3
    with pytest.raises(ValueError, match=r"out.weight differs from embedding.weight, to which it is tied"):
        weight_table.to_native(TABLE, found, ABSTRACT)


def test_everything_that_does_not_fit_is_in_one_error():
    found = tensors()
    del found["embedding.weight"], found["out.weight"]
    found["conv.weight"] = found["conv.weight"][:, :, :2]
    found |= {"conv.scale": np.ones(4), "extra": np.ones(1)}
    with pytest.raises(ValueError, match="4 differences") as error:
        weight_table.to_native(TABLE, found, ABSTRACT)
    for line in (
        "missing embedding.weight or out.weight",
        "unexpected conv.scale",
        "unexpected extra",
        "conv.weight has shape [4, 2, 2], not [4, 2, 3]",
    ):
        assert line in str(error.value)
