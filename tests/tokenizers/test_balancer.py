"""The balancer's gradient: shares of its norm equal the weights, with averages as NumPy has them over several steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from musicgen_jax.nn import modules
from musicgen_jax.tokenizers.adversarial import balancer

NAMES = ("l1", "spectral", "adversarial")
DECAY = 0.8
DIRECTIONS = np.linalg.qr(np.random.default_rng(0).standard_normal((100, 3)))[0].T.reshape(3, 2, 50)  # orthonormal
FUNCTIONAL = modules.Functional(lambda rngs: balancer.LossBalancer(NAMES, DECAY))
WEIGHTS = {"l1": 0.1, "spectral": 1.0, "adversarial": 3.0}


def fresh() -> dict:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), nnx.to_pure_dict(FUNCTIONAL.abstract_buffers))


@jax.jit
def step(buffers: dict, norms: dict[str, float]):
    """(value, gradient, terms, buffers): terms y . d, whose gradients d have the given norms."""

    def loss(reconstruction):
        module = FUNCTIONAL.bind({}, buffers)

        def terms(y):
            return {n: jnp.sum(y * norm * jnp.float32(DIRECTIONS[NAMES.index(n)])) for n, norm in norms.items()}

        value, found = module.balance(terms, reconstruction, WEIGHTS, ("l1", "spectral"))
        return value, (found, FUNCTIONAL.buffers_of(module))

    audio = jnp.linspace(0, 1, 100).reshape(2, 50)
    (value, (found, buffers)), gradient = jax.value_and_grad(loss, has_aux=True)(audio)
    return value, gradient, found, buffers


def contents(gradient: jax.Array) -> dict[str, float]:
    """How much of each term's direction there is in a gradient."""
    return {name: float(np.sum(np.asarray(gradient) * d)) for name, d in zip(NAMES, DIRECTIONS, strict=True)}


def test_shares_of_the_first_step_are_the_weights_whatever_the_norms():
    for norms in (
        {"l1": 5.0, "spectral": 1e-3, "adversarial": 40.0},
        {"l1": 1.0, "spectral": 1.0, "adversarial": 1e-6},
    ):
        value, gradient, found, _ = step(fresh(), norms)
        worth = WEIGHTS["l1"] * norms["l1"] + WEIGHTS["spectral"] * norms["spectral"]  # of the unbalanced terms
        shares = {name: WEIGHTS[name] / 4.1 for name in NAMES}
        assert contents(gradient) == pytest.approx({name: worth * share for name, share in shares.items()}, rel=1e-3)
        # What is logged is the plain weighted sum.
        assert float(value) == pytest.approx(sum(WEIGHTS[n] * float(found[n]) for n in NAMES), rel=1e-5)


def test_averages_over_steps_equal_numpy():
    buffers, history = fresh(), []
    for norms in ((1.0, 2.0, 3.0), (4.0, 0.5, 0.1), (2.0, 2.0, 10.0)):
        history.append(norms)
        named = dict(zip(NAMES, norms, strict=True))
        _, gradient, _, buffers = step(buffers, named)
        ages = np.arange(len(history))[::-1]
        average = dict(zip(NAMES, np.average(history, axis=0, weights=DECAY**ages), strict=True))
        worth = WEIGHTS["l1"] * average["l1"] + WEIGHTS["spectral"] * average["spectral"]
        want = {name: worth * WEIGHTS[name] / 4.1 * named[name] / average[name] for name in NAMES}
        assert contents(gradient) == pytest.approx(want, rel=1e-4)


def test_a_single_term_keeps_its_gradient_and_a_late_one_starts_afresh():
    buffers = fresh()
    for _ in range(3):
        _, gradient, _, buffers = step(buffers, {"spectral": 0.3})
        np.testing.assert_allclose(gradient, 0.3 * DIRECTIONS[1], rtol=1e-4, atol=1e-7)
    assert buffers["mass"][0] == 0 and buffers["norms"][0] == 0
    _, gradient, _, _ = step(buffers, {"l1": 7.0, "spectral": 0.3})
    found = contents(gradient)
    assert found["l1"] / found["spectral"] == pytest.approx(0.1, rel=1e-4)


def test_zero_gradients_stay_zero():
    _, gradient, _, buffers = step(fresh(), {"l1": 0.0, "spectral": 0.0, "adversarial": 1.0})
    assert not np.any(gradient)  # nothing to reconstruct any more: the adversarial term alone moves nothing
    _, gradient, _, _ = step(buffers, {"l1": 0.0, "spectral": 2.0, "adversarial": 0.0})
    found = contents(gradient)
    assert found["spectral"] > 0 and found["l1"] == pytest.approx(0, abs=1e-6) == found["adversarial"]
