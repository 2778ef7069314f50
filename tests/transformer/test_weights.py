import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax.nn import modules, parameters
from musicgen_jax.transformer import weights

# spec, shape of x, shape of the weight, axes of x and of the weight that are summed
PRODUCTS = [
    ("btd,dnhk->btnhk", (2, 3, 8), (8, 3, 2, 4), (2,), (0,)),
    ("bthk,hkd->btd", (2, 3, 2, 4), (2, 4, 8), (2, 3), (0, 1)),
    ("bd,dnhk->bnhk", (2, 8), (8, 3, 2, 4), (1,), (0,)),
    ("bhk,hkd->bd", (2, 2, 4), (2, 4, 8), (1, 2), (0, 1)),
    ("bhd,hmd->bhm", (2, 3, 4), (3, 5, 4), (2,), (2,)),
    ("...d,dk->...k", (2, 3, 8), (8, 5), (2,), (0,)),
    ("...d,dk->...k", (8,), (8, 5), (0,), (0,)),
]


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize(("spec", "x_shape", "shape", "_", "summed"), PRODUCTS)
def test_float_weights_are_the_plain_product(spec, x_shape, shape, _, summed):
    x, weight = draw(*x_shape), draw(*shape, seed=1)
    for dtype in (jnp.float32, jnp.bfloat16):
        found = weights.einsum(spec, x.astype(dtype), weight, dtype)
        np.testing.assert_array_equal(found, jnp.einsum(spec, x.astype(dtype), weight.astype(dtype)))


@pytest.mark.parametrize(("spec", "x_shape", "shape", "_", "summed"), PRODUCTS)
def test_laid_out_for_few_rows_it_is_the_same_product_on_cpus_alone(spec, x_shape, shape, _, summed, monkeypatch):
    x, matrix, outputs = draw(*x_shape), draw(*shape, seed=1), tuple(set(range(len(shape))) - set(summed))
    kinds = {"product": parameters.BOTH, "other": parameters.NEVER}
    declared = {name: parameters.Declaration("matrix", summed, outputs, int8) for name, int8 in kinds.items()}
    params = dict.fromkeys(kinds, matrix)
    found = weights.for_few_rows(params, declared)
    assert found["other"] is matrix
    assert found["product"].shape == shape and found["product"].values.shape[-len(summed) :] == tuple(
        shape[axis] for axis in summed
    )
    np.testing.assert_array_equal(weights.dense(found["product"]), matrix)
    for dtype, tolerance in (jnp.float32, 1e-5), (jnp.bfloat16, 0.05):
        product = weights.einsum(spec, x.astype(dtype), found["product"], dtype)
        assert product.dtype == dtype
        np.testing.assert_allclose(product, jnp.einsum(spec, x, matrix), rtol=tolerance, atol=tolerance)
        logits = weights.einsum(spec, x.astype(dtype), found["product"], dtype, jnp.float32)
        assert logits.dtype == jnp.float32
    monkeypatch.setattr(weights.meshes, "platform", lambda: "tpu")
    assert weights.for_few_rows(params, declared)["product"] is matrix


def test_linear_is_that_of_flax():
    ours, theirs = (
        kind(8, 5, dtype=jnp.float32, rngs=modules.Keys(jax.random.key(3))) for kind in (weights.Linear, nnx.Linear)
    )
    x = draw(2, 3, 8)
    for layer in (ours, theirs):
        layer.bias[...] = draw(5, seed=2)
    np.testing.assert_array_equal(ours(x), theirs(x))
    gradients = [nnx.grad(lambda layer: jnp.sum(layer(x) ** 2))(layer) for layer in (ours, theirs)]
    for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("summed", [(0,), (1,), (0, 2), (-1,)])
def test_every_value_is_the_nearest_level(summed):
    array = draw(4, 5, 6).at[:, 2].set(0.0)
    quantized = weights.quantize(array, summed)
    assert quantized.values.dtype == jnp.int8 and quantized.shape == array.shape
    largest = np.abs(array).max(axis=summed, keepdims=True)
    assert quantized.scales.shape == largest.shape
    np.testing.assert_allclose(np.where(largest > 0, quantized.scales, 0), largest / 127, rtol=1e-6)
    assert np.all(np.abs(quantized.astype(jnp.float32) - array) <= quantized.scales * 0.5001)
    assert np.abs(quantized.values).max() == 127


@pytest.mark.parametrize(("platform", "tolerance"), [("cpu", 5e-4), ("tpu", 1e-5)])
@pytest.mark.parametrize(("spec", "x_shape", "shape", "_", "summed"), PRODUCTS)
def test_float_activations(spec, x_shape, shape, _, summed, platform, tolerance, monkeypatch):
    """On CPUs of 15 bits, in sums of integers; elsewhere all of them, times weights without their scales."""
    monkeypatch.setattr(weights.meshes, "platform", lambda: platform)
    x, quantized = draw(*x_shape), weights.quantize(draw(*shape, seed=1), summed)
    expected = jnp.einsum(spec, x, weights.dense(quantized))
    np.testing.assert_allclose(weights.einsum(spec, x, quantized, jnp.float32), expected, atol=tolerance)
    narrow = weights.einsum(spec, x.astype(jnp.bfloat16), quantized, jnp.bfloat16)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow, expected, rtol=0.02, atol=0.05)
    program = str(jax.make_jaxpr(lambda x, w: weights.einsum(spec, x, w, jnp.float32))(x, quantized))
    assert ("preferred_element_type=int32" in program) == (platform == "cpu")


@pytest.mark.long
@pytest.mark.parametrize("activations", ["float", "int8"])
def test_a_row_alone_is_the_row_in_a_batch(activations):
    x, quantized = draw(3, 8), weights.quantize(draw(8, 5, seed=1), (0,), activations)
    batch = weights.einsum("...d,dk->...k", x, quantized, jnp.float32)
    alone = [weights.einsum("...d,dk->...k", row[None], quantized, jnp.float32) for row in x]
    np.testing.assert_allclose(batch, np.concatenate(alone), rtol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize(("spec", "x_shape", "shape", "x_summed", "summed"), PRODUCTS)
def test_int8_activations_are_sums_of_integers(spec, x_shape, shape, x_summed, summed):
    x, quantized = draw(*x_shape), weights.quantize(draw(*shape, seed=1), summed, activations="int8")
    row_scales = np.abs(x).max(axis=x_summed, keepdims=True) / 127
    rounded = np.round(np.float64(x) / row_scales) * row_scales
    expected = np.einsum(spec, rounded, np.float64(weights.dense(quantized)))
    found = weights.einsum(spec, x, quantized, jnp.float32)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.abs(found - jnp.einsum(spec, x, weights.dense(quantized))).max() > 1e-4
    program = str(jax.make_jaxpr(lambda x, w: weights.einsum(spec, x, w, jnp.float32))(x, quantized))
    assert "preferred_element_type=int32" in program


def test_layers_are_scanned_and_taken_alone():
    stacked = weights.quantize(draw(3, 8, 8), (-2,), activations="int8")

    def body(x, layer):
        return weights.einsum("...d,dk->...k", x, layer, jnp.float32), None

    x = draw(2, 8, seed=1)
    scanned, _ = jax.lax.scan(body, x, stacked)
    for index in range(3):
        layer = jax.tree.map(lambda leaf, i=index: leaf[i], stacked)
        np.testing.assert_array_equal(layer.scales, stacked[index].scales)
        assert layer.shape == (8, 8) and layer.activations == "int8"
        x, _ = body(x, layer)
    np.testing.assert_allclose(scanned, x, rtol=1e-6)
