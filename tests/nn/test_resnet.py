"""The transposed convolution against JAX's own, and the residual blocks' identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax.nn import resnet


@pytest.mark.parametrize(("stride", "length"), [(2, 1), (2, 2), (2, 13), (3, 7), (5, 4), (8, 3)])
def test_upsampling_is_the_transposed_convolution(stride, length):
    layer = resnet.Upsampling(3, 5, stride, dtype=jnp.float32, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.arange(5.0)
    x = jax.random.normal(jax.random.key(1), (2, length, 3))
    whole = jax.lax.conv_transpose(x, layer.kernel[...], (stride,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))
    want = whole[:, resnet.early(stride) :][:, : stride * length]
    np.testing.assert_allclose(layer(x), want + jnp.arange(5.0), atol=1e-5)


def test_downsampling_halves_and_sees_one_sample_beyond_its_pair():
    layer = resnet.Downsampling(1, 1, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (1, 12, 1))
    padded, kernel = np.pad(np.asarray(x)[0, :, 0], 1), np.asarray(layer.conv.kernel[...])[:, 0, 0]
    want = [padded[2 * t : 2 * t + 4] @ kernel for t in range(6)]
    np.testing.assert_allclose(np.asarray(layer(x))[0, :, 0], want, atol=1e-5)


@pytest.mark.parametrize(("stride", "length"), [(2, 8), (2, 7), (2, 2), (3, 9), (5, 10), (5, 14), (8, 32)])
def test_downsampling_is_the_strided_convolution(stride, length):
    layer = resnet.Downsampling(3, 5, stride, dtype=jnp.float32, rngs=nnx.Rngs(0))
    layer.conv.bias[...] = jnp.arange(5.0)
    x = jax.random.normal(jax.random.key(1), (2, length, 3))
    np.testing.assert_allclose(layer(x), layer.conv(x), atol=1e-5)


@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (3, 1), (3, 27)])
def test_convolutions_have_the_parameters_and_the_result_of_flax(kernel_size, dilation):
    layer = resnet.convolution(8, 16, kernel_size, dilation=dilation, dtype=jnp.float32, rngs=nnx.Rngs(0))
    pad = dilation * (kernel_size // 2)
    flax_layer = nnx.Conv(
        8, 16, (kernel_size,), padding=[(pad, pad)], kernel_dilation=dilation, dtype=jnp.float32, rngs=nnx.Rngs(0)
    )
    ours, theirs = nnx.to_pure_dict(nnx.state(layer)), nnx.to_pure_dict(nnx.state(flax_layer))
    assert set(ours) == set(theirs) == {"kernel", "bias"}
    np.testing.assert_array_equal(ours["kernel"], theirs["kernel"])
    layer.bias[...] = flax_layer.bias[...] = jnp.arange(16.0)
    x = jax.random.normal(jax.random.key(1), (2, 33, 8))
    np.testing.assert_allclose(layer(x), flax_layer(x), atol=1e-5)


def test_a_residual_stack_with_zero_projections_is_the_identity():
    stack = resnet.ResidualStack(4, [1, 3], dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 9, 4))
    assert not np.allclose(stack(x), x)
    for block in stack.blocks:
        block.project.kernel[...] = jnp.zeros_like(block.project.kernel[...])
    np.testing.assert_array_equal(stack(x), x)


def test_float16_and_bfloat16_compute_in_their_type():
    for dtype in (jnp.float16, jnp.bfloat16):
        layer = resnet.Upsampling(2, 2, dtype=dtype, rngs=nnx.Rngs(0))
        assert layer(jnp.ones((1, 3, 2))).dtype == dtype and layer.kernel[...].dtype == jnp.float32
