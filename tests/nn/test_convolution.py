"""The products against XLA's convolution: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax.nn import convolution


def xla(x: jax.Array, kernel: jax.Array, dilation: int, left: int) -> jax.Array:
    padding = [(left, (len(kernel) - 1) * dilation - left)]
    return jax.lax.conv_general_dilated(
        x, kernel, (1,), padding, rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
    )


def draws(taps: int, length: int, channels: tuple[int, int]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Input, kernel and the gradient of the output."""
    keys = jax.random.split(jax.random.key(length), 3)
    return (
        jax.random.normal(keys[0], (2, length, channels[0])),
        jax.random.normal(keys[1], (taps, *channels)),
        jax.random.normal(keys[2], (2, length, channels[1])),
    )


@pytest.mark.long
@pytest.mark.parametrize("channels", [(8, 16), (12, 1)])
@pytest.mark.parametrize(
    ("taps", "dilation", "left", "length"),
    [
        *((3, dilation, dilation, 101) for dilation in (1, 3, 9, 27, 81)),
        (3, 100, 100, 101),  # one frame sees one other
        (3, 101, 101, 101),  # the outer taps see padding alone
        (3, 2187, 2187, 50),
        (3, 9, 9, 1),
        (1, 1, 0, 17),
        (2, 1, 1, 16),  # a phase of the transposed convolution
        (2, 1, 0, 16),
        (2, 5, 3, 31),
    ],
)
def test_values_and_gradients_are_those_of_xla(taps, dilation, left, length, channels):
    x, kernel, dy = draws(taps, length, channels)
    want, want_gradient = jax.vjp(lambda x, kernel: xla(x, kernel, dilation, left), x, kernel)
    got, gradient = jax.vjp(lambda x, kernel: convolution.convolve(x, kernel, dilation, left), x, kernel)
    for have, expected in zip((got, *gradient(dy)), (want, *want_gradient(dy)), strict=True):
        np.testing.assert_allclose(have, expected, atol=2e-5 * float(jnp.max(jnp.abs(expected)) + 1))
    undifferentiated = convolution.convolve(x, kernel, dilation, left)
    np.testing.assert_allclose(undifferentiated, want, atol=2e-5 * float(jnp.max(jnp.abs(want)) + 1))


def test_gradients_are_of_the_type_of_the_inputs():
    x, kernel, dy = (value.astype(jnp.bfloat16) for value in draws(3, 20, (8, 8)))
    _, gradient = jax.vjp(lambda x, kernel: convolution.convolve(x, kernel, 3, 3), x, kernel)
    assert [value.dtype for value in gradient(dy)] == [jnp.bfloat16, jnp.bfloat16]


def test_other_devices_than_cpus_use_xla_convolutions(monkeypatch):
    def count(x: jax.Array, kernel: jax.Array) -> int:
        return str(jax.make_jaxpr(lambda x, kernel: convolution.convolve(x, kernel, 3, 3))(x, kernel)).count("conv_gen")

    x, kernel, _ = draws(3, 20, (8, 8))
    assert count(x, kernel) == 0
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert count(x, kernel) == 1
