"""Kinds of layers, and attention to a memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import attention, block, stack

SETTINGS = config.TransformerConfig(num_layers=2, width=12, num_heads=2, head_dim=4, mlp_width=16, remat="none")
LENGTH, MEMORY = 6, 5


def layers_of(order: str, num_layers: int) -> tuple[str, ...]:
    return config.JukeboxTransformerConfig(num_layers=num_layers, layers=order).kinds


def places(kinds: tuple[str, ...], kind: str) -> list[int]:
    return [layer for layer, found in enumerate(kinds) if found == kind]


def test_factored_layers_repeat_three_patterns():
    assert layers_of("factored", 7) == ("row", "column", "previous_row") * 2 + ("row",)


def test_cross_layers_are_the_published_ones():
    kinds = layers_of("factored_cross", 79)
    assert places(kinds, "cross") == [18, 28, 38, 48, 58, 68, 78]
    assert "".join(kind[0] for kind in kinds[:30]) == "rcp" * 3 + ("rcp" * 3 + "c") * 2 + "r"


def test_prime_and_dense_layers_are_the_published_ones():
    kinds = layers_of("factored_prime", 72)
    assert places(kinds, "prime") == [15, 31, 63]
    assert places(kinds, "dense") == [47]
    assert kinds[14:18] == ("previous_row", "prime", "column", "previous_row")


@pytest.mark.long
def test_a_cross_layer_starts_as_the_identity():
    """So that a trained prior can learn to listen to lyrics without forgetting anything."""
    settings = config.JukeboxTransformerConfig(width=8, num_heads=1, attention_width=2, mlp_width=8)
    functional = modules.Functional(
        lambda rngs: block.Block(settings, "cross", attention.Span(), rules.AxisRules(), dtype=jnp.float32, rngs=rngs)
    )
    x, memory = (jax.random.normal(jax.random.key(size), (1, size, 8)) for size in (4, 3))
    layer = functional.bind(*functional.init(jax.random.key(0)))
    np.testing.assert_array_equal(layer(x, None, memory)[0], x)


def test_quick_gelu():
    x = np.array([-3.0, 0.0, 2.0])
    np.testing.assert_allclose(block.quick_gelu(jnp.asarray(x)), x / (1 + np.exp(-1.702 * x)), rtol=1e-6)


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make(settings=SETTINGS, **options):
    """A stack with random weights."""
    span = attention.Span(LENGTH)
    functional = modules.Functional(
        lambda rngs: stack.Stack(settings, span, rules.AxisRules(), dtype=jnp.float32, rngs=rngs, **options)
    )
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(functional.init, jax.random.key(0))
    weights = jax.tree.map(lambda leaf: rng.normal(scale=0.4, size=leaf.shape).astype(leaf.dtype), shapes)
    return functional, weights


@pytest.fixture(scope="module")
def reader():
    """(stack whose blocks read a memory, its output as a function of x, memory and mask)."""
    functional, weights = make(reads_memory=True)
    run = jax.jit(lambda x, memory, mask: functional.bind(*weights)(x, None, memory, mask))
    return functional.bind(*weights), lambda *arguments: np.asarray(run(*arguments))


def test_a_memory_is_heard_where_it_exists(reader):
    _, run = reader
    x, memory = drawn(2, LENGTH, 12), drawn(2, MEMORY, 12, seed=1)
    mask = np.arange(MEMORY) < np.array([[3], [5]])
    out = run(x, memory, mask)
    changed = memory.copy()
    changed[:, 3:] += 1
    moved = np.abs(run(x, changed, mask) - out).max(axis=(1, 2))
    assert moved[0] == 0 and moved[1] > 1e-2
    short = run(x[:1], memory[:1, :3], np.ones((1, 3), bool))
    np.testing.assert_allclose(out[:1], short, atol=1e-5)


def test_a_memory_has_no_order(reader):
    _, run = reader
    x, memory, mask = drawn(1, LENGTH, 12), drawn(1, MEMORY, 12, seed=1), np.ones((1, MEMORY), bool)
    np.testing.assert_allclose(run(x, memory[:, ::-1], mask), run(x, memory, mask), atol=1e-5)


def test_steps_with_a_memory_equal_the_whole_sequence(reader):
    module, run = reader
    x, memory = drawn(2, LENGTH, 12), drawn(2, MEMORY, 12, seed=1)
    mask = np.arange(MEMORY) < np.array([[3], [5]])
    expected = run(x, memory, mask)
    _, caches = module.prefill(jnp.zeros_like(x), memory, mask)  # the window's part is overwritten step by step
    before = jax.tree.map(np.asarray, [cache.memory for cache in caches])
    layers = module.unstacked()
    step = jax.jit(lambda x, caches, position: module.step(layers, x, caches, position))
    for position in range(LENGTH):
        out, caches = step(x[:, position], caches, position)
        np.testing.assert_allclose(out, expected[:, position], atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, [cache.memory for cache in caches], before)


def test_without_a_memory_a_stack_has_no_parameters_for_it():
    with_it, without = (make(reads_memory=reads)[0].init(jax.random.key(0))[0]["layers"] for reads in (True, False))
    assert set(with_it) - set(without) == {"memory_norm", "memory_attention"}
    assert not np.any(with_it["memory_attention"]["out"]["kernel"])  # a trained model starts without hearing it
    # What a new memory adds draws behind the attention to the window, whose values stay.
    jax.tree.map(np.testing.assert_array_equal, with_it["attention"], without["attention"])


def test_layers_of_several_kinds_are_walked_one_by_one_and_equal_their_steps():
    settings = config.JukeboxTransformerConfig(
        num_layers=3, width=12, num_heads=2, attention_width=8, mlp_width=12, num_rows=2
    )
    functional = modules.Functional(
        lambda rngs: stack.Stack(
            settings, attention.Span(row_length=3), rules.AxisRules(), dtype=jnp.float32, rngs=rngs
        )
    )
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(functional.init, jax.random.key(0))
    weights = jax.tree.map(lambda leaf: rng.normal(scale=0.4, size=leaf.shape).astype(leaf.dtype), shapes)
    module, x = functional.bind(*weights), drawn(2, LENGTH, 12)
    expected, caches = jax.jit(lambda x: module.prefill(x))(x)
    caches = jax.tree.map(jnp.zeros_like, caches)
    step = jax.jit(lambda x, caches, position: module.step(module.unstacked(), x, caches, position))
    for position in range(LENGTH):
        out, caches = step(x[:, position], caches, position)
        np.testing.assert_allclose(out, expected[:, position], atol=1e-5)
    full = dataclasses.replace(settings, num_layers=1)
    assert full.kinds == ("row",) and not full.scanned
