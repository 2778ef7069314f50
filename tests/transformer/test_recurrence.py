"""LSTM layers against a loop in NumPy, and as layers of the stack."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import attention, kv_cache, recurrence, stack

LENGTH, WIDTH = 7, 6
SETTINGS = config.TransformerConfig(
    layer="lstm", num_layers=2, width=WIDTH, num_heads=1, head_dim=1, mlp_width=0, remat="none"
)


def weights_of(functional, seed=0):
    shapes = jax.eval_shape(functional.init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(scale=0.6, size=leaf.shape).astype(leaf.dtype), shapes)


def make_stack(settings=SETTINGS, dtype=jnp.float32):
    span = attention.Span(LENGTH)
    return modules.Functional(lambda rngs: stack.Stack(settings, span, rules.AxisRules(), dtype=dtype, rngs=rngs))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(1).normal(size=(2, LENGTH, WIDTH)).astype(np.float32)


def slow_lstm(x, weights):
    """Float64, one number of gates after the other."""

    def sigmoid(value):
        return 1 / (1 + np.exp(-value))

    matrices = {name: np.asarray(weights[name], np.float64) for name in ("input", "recurrent")}
    biases = np.asarray(weights["bias"], np.float64).reshape(4, WIDTH)
    hidden, cell, found = np.zeros((2, WIDTH)), np.zeros((2, WIDTH)), []
    for t in range(LENGTH):
        gates = [
            x[:, t] @ matrices["input"][:, gate] + hidden @ matrices["recurrent"][:, gate] + biases[gate]
            for gate in range(4)
        ]
        cell = sigmoid(gates[1]) * cell + sigmoid(gates[0]) * np.tanh(gates[2])
        hidden = sigmoid(gates[3]) * np.tanh(cell)
        found.append((hidden, cell))
    return (np.stack(part, axis=1) for part in zip(*found, strict=True))


def test_equals_a_loop_in_numpy(x):
    functional = modules.Functional(
        lambda rngs: recurrence.LSTM(SETTINGS, rules.AxisRules(), dtype=jnp.float32, rngs=rngs)
    )
    params, _ = weights_of(functional)
    hidden, states = jax.jit(lambda params: functional.bind(params, {})(x))(params)
    expected_hidden, expected_cell = slow_lstm(x, params)
    np.testing.assert_allclose(hidden, expected_hidden, atol=1e-5)
    np.testing.assert_allclose(states.hidden, expected_hidden, atol=1e-5)
    np.testing.assert_allclose(states.cell, expected_cell, atol=1e-5)


@pytest.mark.parametrize("mlp_width", [0, 5])
def test_steps_equal_the_whole_sequence(x, mlp_width):
    functional = make_stack(dataclasses.replace(SETTINGS, mlp_width=mlp_width))
    module = functional.bind(*weights_of(functional))
    expected, whole = jax.jit(module.prefill)(x)
    layers = module.unstacked()
    step = jax.jit(lambda x, caches, position: module.step(layers, x, caches, position))
    for start in (0, 4):
        caches = [cache.with_own(lambda own, at=start: kv_cache.ring(own, 1, at)) for cache in whole]
        for position in range(start, LENGTH):
            out, caches = step(x[:, position], caches, position)
            np.testing.assert_allclose(out, expected[:, position], atol=1e-5)
        for got, wanted in zip(caches, whole, strict=True):
            np.testing.assert_allclose(got.own.cell[:, 0], wanted.own.cell[:, -1], atol=1e-5)


def test_remembers_from_the_first_step_on():
    params, _ = make_stack().init(jax.random.key(0, impl="unsafe_rbg"))
    layer = params["layers"]["attention"]
    biases = layer["bias"].reshape(2, 4, WIDTH)
    assert (biases[:, 1] == recurrence.FORGET_BIAS).all() and np.abs(biases).sum() == 2 * WIDTH
    assert "mlp" not in params["layers"]
    declared = make_stack().declared["layers"]["attention"]
    for name in ("input", "recurrent"):
        assert declared[name].axes == ("layers", "width", None, "mlp")
        assert (declared[name].role, declared[name].inputs, declared[name].outputs) == ("matrix", (-3,), (-1,))


def test_the_state_stays_float32_where_products_are_narrow(x):
    functional = make_stack(dtype=jnp.bfloat16)
    out, caches = jax.eval_shape(functional.bind(*weights_of(functional)).prefill, x.astype(jnp.bfloat16))
    assert out.dtype == caches[0].own.hidden.dtype == jnp.bfloat16
    assert caches[0].own.cell.dtype == jnp.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": "gru", "mlp_width": 8}, r"transformer\.layer='gru': must be one of relative, absolute, lstm"),
        ({"layer": "relative"}, r"transformer\.mlp_width=0: must be at least 1"),
        ({"window": 4}, r"transformer\.window=4: is of transformer\.layer=relative alone; use 0"),
        ({"layer": "absolute", "mlp_width": 8, "max_distance": 9}, r"transformer\.max_distance=9: is of"),
    ],
)
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SETTINGS, **changes).validate()
