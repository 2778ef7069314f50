import jax
import jax.numpy as jnp

from musicgen_jax.nn import flops


def test_traced_loops_and_convolutions():
    def looped(x: jax.Array, weight: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ weight), None), x, length=5)[0]

    assert flops.traced_flops(looped, jnp.ones((3, 4)), jnp.ones((4, 4))) == 5 * 2 * 3 * 4 * 4

    def convolved(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))

    assert flops.traced_flops(convolved, jnp.ones((2, 16, 3)), jnp.ones((5, 3, 7))) == 2 * (2 * 8 * 7) * 5 * 3
