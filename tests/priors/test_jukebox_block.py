import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.priors import jukebox_block


def layers_of(order: str, num_layers: int) -> list[str]:
    return jukebox_block.layer_patterns(config.JukeboxTransformerConfig(num_layers=num_layers, layers=order))


def places(patterns: list[str], pattern: str) -> list[int]:
    return [layer for layer, found in enumerate(patterns) if found == pattern]


def test_factored_layers_repeat_three_patterns():
    assert layers_of("factored", 7) == ["row", "column", "previous_row"] * 2 + ["row"]


def test_cross_layers_are_the_published_ones():
    patterns = layers_of("factored_cross", 79)
    assert places(patterns, "cross") == [18, 28, 38, 48, 58, 68, 78]
    assert "".join(pattern[0] for pattern in patterns[:30]) == "rcp" * 3 + ("rcp" * 3 + "c") * 2 + "r"


def test_prime_and_dense_layers_are_the_published_ones():
    patterns = layers_of("factored_prime", 72)
    assert places(patterns, "prime") == [15, 31, 63]
    assert places(patterns, "dense") == [47]
    assert patterns[14:18] == ["previous_row", "prime", "column", "previous_row"]


def test_a_cross_layer_starts_as_the_identity():
    """So that a trained prior can learn to listen to lyrics without forgetting anything."""
    settings = config.JukeboxTransformerConfig(width=8, num_heads=1, attention_width=2, mlp_width=8)
    lengths = {"row_length": 2, "prime_length": 0}
    functional = modules.Functional(
        lambda rngs: jukebox_block.JukeboxBlock(settings, "cross", **lengths, dtype=jnp.float32, rngs=rngs)
    )
    x, encoded = (jax.random.normal(jax.random.key(size), (1, size, 8)) for size in (4, 3))
    block = functional.bind(*functional.init(jax.random.key(0)))
    np.testing.assert_array_equal(block(x, encoded)[0], x)


def test_quick_gelu():
    x = np.array([-3.0, 0.0, 2.0])
    np.testing.assert_allclose(jukebox_block.quick_gelu(jnp.asarray(x)), x / (1 + np.exp(-1.702 * x)), rtol=1e-6)
