"""The transposed convolution against JAX's own, and the residual blocks' identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax.vqvae import resnet


@pytest.mark.parametrize("length", [1, 2, 13])
def test_upsampling_is_the_transposed_convolution(length):
    layer = resnet.Upsampling(3, 5, dtype=jnp.float32, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.arange(5.0)
    x = jax.random.normal(jax.random.key(1), (2, length, 3))
    want = jax.lax.conv_transpose(x, layer.kernel[...], (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
    np.testing.assert_allclose(layer(x), want + jnp.arange(5.0), atol=1e-5)


def test_downsampling_halves_and_sees_one_sample_beyond_its_pair():
    layer = resnet.Downsampling(1, 1, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (1, 12, 1))
    padded, kernel = np.pad(np.asarray(x)[0, :, 0], 1), np.asarray(layer.conv.kernel[...])[:, 0, 0]
    want = [padded[2 * t : 2 * t + 4] @ kernel for t in range(6)]
    np.testing.assert_allclose(np.asarray(layer(x))[0, :, 0], want, atol=1e-5)


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
