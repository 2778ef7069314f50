"""Finite scalar quantization against the formulas of Mentzer et al. 2023 (appendix A.1) in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax import config
from musicgen_jax.quantizers import scalar_quantizer

LEVELS = [(8, 8, 8, 4), (5, 3), (2, 3, 4), (7, 5, 5, 5)]


def make(levels: tuple[int, ...], code_width: int | None = None) -> scalar_quantizer.ScalarQuantizer:
    """Without `code_width`, both projections are the identity: latents are the bounded dimensions themselves."""
    sizes = config.QuantizerConfig(
        kind="fsq", num_codes=math.prod(levels), code_width=code_width or len(levels), fsq_levels=levels
    )
    sizes.validate()
    quantizer = scalar_quantizer.ScalarQuantizer(sizes, rngs=nnx.Rngs(0))
    if code_width is None:
        quantizer.project_in.kernel[...] = quantizer.project_out.kernel[...] = jnp.eye(len(levels))
    return quantizer


def paper(z: np.ndarray, levels: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(codes, values in [-1, 1], bounded values before rounding), dimension by dimension."""
    codes, values, bounded = np.zeros(z.shape[:-1], np.int64), np.zeros(z.shape), np.zeros(z.shape)
    place = 1
    for d, count in enumerate(levels):
        half = (count - 1) * (1 - 1e-3) / 2
        offset = 0.0 if count % 2 == 1 else 0.5
        bounded[..., d] = np.tanh(z[..., d] + math.tan(offset / half)) * half - offset
        rounded = np.round(bounded[..., d])
        values[..., d] = rounded / (count // 2)
        codes += (rounded.astype(np.int64) + count // 2) * place
        place *= count
    return codes, values, bounded


@pytest.mark.parametrize("levels", LEVELS)
def test_equals_the_paper(levels):
    quantizer = make(levels)
    latents = 2 * np.random.default_rng(0).standard_normal((3, 200, len(levels)))
    codes, values, bounded = paper(latents, levels)
    certain = (np.abs(np.abs(bounded - np.floor(bounded)) - 0.5) > 1e-4).all(-1)  # float32 decides ties by itself
    quantized = quantizer(jnp.float32(latents))
    assert certain.mean() > 0.99 and quantized.codes.dtype == jnp.int32
    np.testing.assert_array_equal(np.asarray(quantized.codes)[certain, 0], codes[certain])
    np.testing.assert_array_equal(quantizer.encode(jnp.float32(latents)), quantized.codes)
    np.testing.assert_allclose(np.asarray(quantized.latents)[certain], values[certain], atol=1e-6)
    assert quantized.codebook_loss is None and float(quantized.commitment_loss) == 0


@pytest.mark.long
@pytest.mark.parametrize("levels", LEVELS)
def test_codes_and_grid_points_are_one_to_one(levels):
    quantizer = make(levels)
    values = np.asarray(quantizer.codebook())[0]
    assert len(np.unique(values, axis=0)) == math.prod(levels)
    assert values.min() == -1.0 and values.max() <= 1.0
    # The latents that the bound maps onto a grid point find its code again, extremes included.
    counts = np.array(levels)
    half, offset = (counts - 1) * (1 - 1e-3) / 2, np.where(counts % 2 == 0, 0.5, 0.0)
    inside = np.clip((values * (counts // 2) + offset) / half, -1 + 1e-6, 1 - 1e-6)
    latents = np.arctanh(inside) - np.tan(offset / half)
    np.testing.assert_array_equal(quantizer.encode(jnp.float32(latents))[:, 0], np.arange(math.prod(levels)))
    far = quantizer.encode(jnp.array([[-1e6] * len(levels), [1e6] * len(levels)]))
    np.testing.assert_array_equal(far[:, 0], [0, math.prod(levels) - 1])


def test_zero_is_a_grid_point_for_odd_and_even_levels():
    np.testing.assert_array_equal(make((8, 5)).decode(make((8, 5)).encode(jnp.zeros((1, 2)))), 0)


def test_gradient_takes_the_rounding_for_the_identity():
    levels = (8, 5)
    quantizer, counts = make(levels), np.array(levels)
    latents = np.random.default_rng(0).standard_normal((2, 20, 2)).astype(np.float32)
    seen = np.random.default_rng(1).standard_normal(latents.shape).astype(np.float32)
    gradient = jax.grad(lambda z: jnp.sum(quantizer(z).latents * seen))(jnp.asarray(latents))
    half, offset = (counts - 1) * (1 - 1e-3) / 2, np.where(counts % 2 == 0, 0.5, 0.0)
    slope = half / np.cosh(latents + np.tan(offset / half)) ** 2 / (counts // 2)
    np.testing.assert_allclose(gradient, seen * slope, rtol=1e-4, atol=1e-6)


def test_projections_lead_to_the_code_width():
    quantizer = make((5, 3), code_width=6)
    latents = np.random.default_rng(0).standard_normal((2, 20, 6)).astype(np.float32)
    inner = latents @ np.asarray(quantizer.project_in.kernel[...])
    codes, values, _ = paper(inner, (5, 3))
    quantized = quantizer(latents)
    np.testing.assert_array_equal(quantized.codes[..., 0], codes)
    np.testing.assert_allclose(quantized.latents, values @ np.asarray(quantizer.project_out.kernel[...]), atol=1e-5)
    assert quantizer.update(latents, quantized.codes, jax.random.key(0)) == {}


@pytest.mark.parametrize("levels", [(), (8, 1), (8, 8)])
def test_levels_that_do_not_fit(levels):
    with pytest.raises(ValueError, match="fsq_levels"):
        config.QuantizerConfig(kind="fsq", num_codes=65, fsq_levels=levels).validate()
