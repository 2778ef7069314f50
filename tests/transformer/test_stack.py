import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import attention, stack

LENGTH = 9
SPAN = attention.Span(LENGTH)
SETTINGS = config.TransformerConfig(num_layers=2, width=12, num_heads=2, head_dim=4, mlp_width=16, remat="none")


def make_functional(settings=SETTINGS, **options):
    return modules.Functional(
        lambda rngs: stack.Stack(settings, SPAN, rules.AxisRules(), dtype=jnp.float32, rngs=rngs, **options)
    )


@pytest.fixture(scope="module")
def weights():
    functional = make_functional()
    shapes = jax.eval_shape(functional.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(scale=0.4, size=leaf.shape).astype(leaf.dtype), shapes)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(1).normal(size=(2, LENGTH, SETTINGS.width)).astype(np.float32)


@pytest.fixture(scope="module")
def fresh():
    return make_functional().init(jax.random.key(0, impl="unsafe_rbg"))


def test_layers_are_initialised_apart(fresh):
    params, buffers = fresh
    assert jax.tree.leaves(buffers) == []
    qkv = params["layers"]["attention"]["qkv"]
    assert qkv.shape == (2, 12, 3, 2, 4)
    assert not np.allclose(qkv[0], qkv[1])
    np.testing.assert_allclose(np.std(qkv), 0.02, rtol=0.1)


def test_stacked_axis_is_named():
    declared = make_functional().declared
    assert declared["layers"]["attention"]["qkv"].axes == ("layers", "width", None, "heads", None)
    assert declared["layers"]["mlp"]["hidden"]["kernel"].axes == ("layers", "width", "mlp")


def test_scan_equals_a_loop_over_the_layers(weights, x):
    @jax.jit
    def both(weights, x):
        module = make_functional().bind(*weights)
        looped = x
        for layer in module.unstacked():
            looped, _ = layer(looped, None)
        return module(x), module.norm(looped)

    np.testing.assert_allclose(*both(weights, x), atol=1e-5)


def test_steps_equal_the_whole_sequence(weights, x):
    module = make_functional().bind(*weights)
    expected, whole = jax.jit(module.prefill)(x)
    layers = module.unstacked()
    caches = jax.tree.map(jnp.zeros_like, whole)
    step = jax.jit(lambda x, caches, position: module.step(layers, x, caches, position))
    for position in range(LENGTH):
        out, caches = step(x[:, position], caches, position)
        np.testing.assert_allclose(out, expected[:, position], atol=1e-5)
    for got, wanted in zip(caches, whole, strict=True):
        np.testing.assert_allclose(got.own.keys, wanted.own.keys, atol=1e-5)


def test_absolute_positions_are_sinusoids_at_the_input(x):
    settings = dataclasses.replace(SETTINGS, layer="absolute")
    functional = make_functional(settings)
    shapes = jax.eval_shape(functional.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params, _ = jax.tree.map(lambda leaf: rng.normal(scale=0.4, size=leaf.shape).astype(leaf.dtype), shapes)
    module = functional.bind(params, {})
    expected, whole = jax.jit(module.prefill)(x)
    layers, caches = module.unstacked(), jax.tree.map(jnp.zeros_like, whole)
    step = jax.jit(lambda x, caches, position: module.step(layers, x, caches, position))
    for position in range(LENGTH):
        out, caches = step(x[:, position], caches, position)
        np.testing.assert_allclose(out, expected[:, position], atol=1e-5)
    table = np.asarray(stack.sinusoids(jnp.arange(50), 12), np.float64)
    wavelengths = 2 * np.pi * 10_000 ** (np.arange(6) / 5)
    angles = 2 * np.pi * np.arange(50)[:, None] / wavelengths
    np.testing.assert_allclose(table, np.concatenate([np.sin(angles), np.cos(angles)], axis=1), atol=1e-5)
    # All that tells two equal inputs apart; attention alone would mix them to the same.
    same = np.broadcast_to(x[:, :1], x.shape)
    placed = module(same)
    module.adds_positions = False
    for out, alike in ((placed, False), (module(same), True)):
        assert np.allclose(out[:, 1], out[:, -1], atol=1e-4) == alike


def gradient_program(remat, x, **changes):
    functional = make_functional(dataclasses.replace(SETTINGS, remat=remat, **changes))
    return jax.jit(jax.value_and_grad(lambda weights: jnp.sum(functional.bind(*weights)(x) ** 3))), functional


@pytest.fixture(scope="module")
def gradients(weights, x):
    return gradient_program("none", x)[0](weights)


@pytest.mark.parametrize("remat", config.REMAT[1:])
def test_recomputation_changes_nothing(weights, x, gradients, remat):
    traced = gradient_program(remat, x)[0].trace(weights)
    assert "remat" in str(traced.jaxpr)
    # A platform whose host memory is apart copies there; on this one the copy is a copy.
    assert (f"<host>[2,{LENGTH},12]" in str(traced.jaxpr)) == (remat == "offload")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        traced.lower().compile()(weights),
        gradients,
    )


@pytest.mark.long
def test_what_is_kept_takes_memory():
    """24 layers of narrow attention: keeping everything > the matrices' products > the inputs alone."""
    x = np.zeros((8, LENGTH, 12), np.float32)

    def temporaries(remat):
        program, functional = gradient_program(remat, x, num_layers=24)
        shapes = jax.eval_shape(functional.init, jax.random.key(0))
        return program.lower(shapes).compile().memory_analysis().temp_size_in_bytes

    inputs = 24 * x.nbytes
    none, dots, full = map(temporaries, ("none", "dots", "full"))
    assert inputs < full < dots < none
    assert dots - full > 2 * inputs


def test_offloading_needs_the_hosts_memory():
    offload = dataclasses.replace(SETTINGS, remat="offload")
    stack.check_remat(offload, jax.devices())
    memory = types.SimpleNamespace(kind="device")
    device = types.SimpleNamespace(addressable_memories=lambda: [memory], device_kind="abacus")
    with pytest.raises(ValueError, match=r"remat='offload': abacus has no memory of kind pinned_host .*use full"):
        stack.check_remat(offload, [device])
    stack.check_remat(SETTINGS, [device])


def test_says_which_dimension_a_mesh_does_not_divide():
    mesh = jax.sharding.AbstractMesh((1, 1, 1, 8), ("replica", "data", "fsdp", "tensor"))
    (sentence,) = stack.undivided(dataclasses.replace(SETTINGS, num_heads=10, mlp_width=64), mesh)
    assert "transformer.num_heads=10 is no multiple of mesh.tensor=8" in sentence
    assert not stack.undivided(dataclasses.replace(SETTINGS, num_heads=16, mlp_width=64), mesh)


def test_dropout_depends_on_the_key(weights, x):
    functional = make_functional(dataclasses.replace(SETTINGS, dropout=0.5))
    run = jax.jit(lambda weights, key: functional.bind(*weights)(x, key))
    first, again, other = (np.asarray(run(weights, jax.random.key(seed, impl="unsafe_rbg"))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_dropout_is_off_without_a_key_or_a_rate(weights, x):
    with_rate = make_functional(dataclasses.replace(SETTINGS, dropout=0.5))
    for functional, key in ((with_rate, None), (make_functional(), jax.random.key(0))):
        run = lambda weights, key, f=functional: f.bind(*weights)(x, key)  # noqa: E731
        assert "random_bits" not in str(jax.make_jaxpr(run)(weights, key))


def test_dropout_keeps_the_mean_and_draws_apart(weights):
    layer = make_functional(dataclasses.replace(SETTINGS, dropout=0.25)).bind(*weights).layers
    ones = jnp.ones((100, 100))
    attended, hidden = (layer._drop(ones, jax.random.key(0), index) for index in (0, 1))
    assert set(np.unique(attended).tolist()) == {0.0, float(np.float32(1 / 0.75))}
    assert float(attended.mean()) == pytest.approx(1, abs=0.03)
    assert np.any(attended != hidden)


def test_float32_parameters_under_bfloat16_compute(weights, x):
    functional = modules.Functional(
        lambda rngs: stack.Stack(SETTINGS, SPAN, rules.AxisRules(), dtype=jnp.bfloat16, rngs=rngs)
    )
    shapes = jax.eval_shape(functional.init, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype(np.float32)}
    low = jax.eval_shape(lambda weights: functional.bind(*weights)(x.astype(jnp.bfloat16)), weights)
    assert low.dtype == jnp.bfloat16


def kinds_of(order, num_layers):
    return config.JukeboxTransformerConfig(num_layers=num_layers, layers=order).kinds


@pytest.mark.parametrize(
    ("kinds", "compiled"),
    [
        (("relative",) * 72, 1),
        (kinds_of("factored", 72), 3),
        (kinds_of("factored_cross", 79), 3 + 10 + 1),  # of these ten one attends to the lyrics
        (kinds_of("factored_prime", 72), 7 * 3),
        (("row", "column"), 2),
        (("row",), 1),
    ],
)
def test_groups_are_all_layers_in_their_order(kinds, compiled):
    groups = stack.groups(kinds)
    assert sum((kinds[group.first : group.first + group.size] * group.times for group in groups), ()) == kinds
    assert sum(group.size for group in groups) == compiled


class Listed(config.JukeboxTransformerConfig):
    kinds = ("row", "column") * 2 + ("previous_row",)


LISTED = Listed(num_layers=5, width=12, num_heads=2, attention_width=8, mlp_width=12, num_rows=3)


@pytest.fixture(scope="module")
def listed():
    """A stack of a list, two of whose kinds repeat."""
    functional = modules.Functional(
        lambda rngs: stack.Stack(LISTED, attention.Span(row_length=3), rules.AxisRules(), dtype=jnp.float32, rngs=rngs)
    )
    shapes = jax.eval_shape(functional.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return functional, jax.tree.map(lambda leaf: rng.normal(scale=0.4, size=leaf.shape).astype(leaf.dtype), shapes)


def test_a_scan_over_groups_equals_a_loop_over_the_layers(listed, x):
    functional, weights = listed

    @jax.jit
    def both(weights, x):
        module = functional.bind(*weights)
        looped, caches = x, []
        for layer in module.unstacked():
            looped, cache = layer(looped, None)
            caches.append(cache)
        return module.prefill(x), (looped, caches)

    (found, caches), (looped, expected) = both(weights, x)
    np.testing.assert_allclose(found, looped, atol=1e-5)
    assert len(caches) == len(expected) == 5
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), caches, expected)


@pytest.mark.long
def test_gradients_of_a_scan_over_groups_come_to_their_layers(listed, x):
    functional, weights = listed

    def loss(weights, looped):
        module, out = functional.bind(*weights), x
        for layer in module.unstacked() if looped else ():
            out = layer(out, None)[0]
        return jnp.sum((out if looped else module(x)) ** 2)

    scanned, looped = (jax.jit(jax.grad(loss), static_argnums=1)(weights, looped) for looped in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), scanned, looped)


def test_a_program_has_each_kind_of_a_group_once(listed, x):
    functional, weights = listed
    run = lambda weights: functional.bind(*weights)(x)  # noqa: E731
    one = jax.make_jaxpr(lambda weights: functional.bind(*weights).unstacked()[0](x, None)[0])(weights)
    products = str(one).count("dot_general[")
    assert str(jax.make_jaxpr(run)(weights)).count("dot_general[") == 3 * products  # two of the group, and the last
