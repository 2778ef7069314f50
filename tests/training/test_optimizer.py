"""Schedule, weight decay mask, clipping and Adam itself, against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.training import optimizer


def settings(**changes) -> config.OptimizerConfig:
    return config.OptimizerConfig(**({"peak_learning_rate": 0.1, "clip_norm": 0.0} | changes))


def test_warmup_and_cosine():
    schedule = optimizer.make_schedule(settings(warmup_steps=4, decay="cosine", final_fraction=0.1), num_steps=24)
    warmup = [float(schedule(n)) for n in range(4)]
    np.testing.assert_allclose(warmup, [0.025, 0.05, 0.075, 0.1], rtol=1e-6)
    for n in (4, 9, 14, 24, 30):  # held after the end
        share = min(n - 4, 20) / 20
        expected = 0.1 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * share)))
        np.testing.assert_allclose(float(schedule(n)), expected, rtol=1e-5)


@pytest.mark.parametrize("warmup_steps", [0, 1, 3])
def test_constant(warmup_steps):
    schedule = optimizer.make_schedule(settings(warmup_steps=warmup_steps), num_steps=2)
    assert [float(schedule(n)) for n in (warmup_steps, 5, 500)] == pytest.approx([0.1] * 3)
    assert float(schedule(0)) == pytest.approx(0.1 / max(warmup_steps, 1))


def test_weight_decay_is_for_matrices_and_tables():
    params = {
        "norm": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
        "linear": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
        "codes": jnp.ones((3, 2)),
    }
    tx = optimizer.make_optimizer(settings(weight_decay=0.5), num_steps=10)
    zeros = {
        "norm": {"scale": jnp.zeros(2), "bias": jnp.zeros(2)},
        "linear": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)},
        "codes": jnp.zeros((3, 2)),
    }
    updates, _ = tx.update(zeros, tx.init(params), params)
    np.testing.assert_allclose(updates["linear"]["kernel"], -0.1 * 0.5, rtol=1e-6)
    np.testing.assert_allclose(updates["codes"], -0.1 * 0.5, rtol=1e-6)
    for kept in (updates["norm"]["scale"], updates["norm"]["bias"], updates["linear"]["bias"]):
        np.testing.assert_array_equal(kept, 0)


def adam(gradients, rate: float, b1: float, b2: float) -> np.ndarray:
    """Kingma & Ba 2015, algorithm 1."""
    value, m, v = np.zeros(3), np.zeros(3), np.zeros(3)
    for t, gradient in enumerate(gradients, start=1):
        m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient**2
        value = value - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
    return value


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_clipping_by_global_norm_then_adam(clip_norm):
    gradients = [np.array([3.0, 4.0, 0.0]), np.array([0.1, 0.0, 0.2]), np.array([-8.0, 1.0, 2.0])]
    tx = optimizer.make_optimizer(settings(clip_norm=clip_norm, b1=0.8, b2=0.9), num_steps=10)
    params = {"a": {"kernel": jnp.zeros(2)}, "b": {"kernel": jnp.zeros(1)}}
    opt_state = tx.init(params)
    for gradient in gradients:
        tree = {"a": {"kernel": jnp.float32(gradient[:2])}, "b": {"kernel": jnp.float32(gradient[2:])}}
        updates, opt_state = tx.update(tree, opt_state, params)
        params = {k: {"kernel": params[k]["kernel"] + updates[k]["kernel"]} for k in params}
    clipped = [g * min(1, clip_norm / np.linalg.norm(g)) if clip_norm else g for g in gradients]
    found = np.concatenate([params["a"]["kernel"], params["b"]["kernel"]])
    np.testing.assert_allclose(found, adam(clipped, 0.1, 0.8, 0.9), rtol=1e-5)


def test_players_that_are_clipped_apart_do_not_disturb_each_other():
    params = {"a": {"kernel": jnp.zeros(2)}, "b": {"kernel": jnp.zeros(1)}, "judge": {"kernel": jnp.zeros(2)}}
    clip = optimizer.make_optimizer(settings(clip_norm=1.0), num_steps=10, clipped_apart=("judge",))
    alone = optimizer.make_optimizer(settings(clip_norm=1.0), num_steps=10)

    def moments(tx, tree):
        """Adam's first moment after one update: a tenth of the clipped gradient."""
        _, opt_state = tx.update(tree, tx.init(tree), tree)
        (mu,) = [
            state.mu for state in jax.tree.leaves(opt_state, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(state, "mu")
        ]
        return mu

    loud = jax.tree.map(lambda leaf: leaf + 30.0, params)
    quiet = {name: jax.tree.map(lambda leaf: leaf + 1e-3, params[name]) for name in ("a", "b")}
    found = moments(clip, quiet | {"judge": loud["judge"]})
    jax.tree.map(np.testing.assert_array_equal, {name: found[name] for name in quiet}, moments(alone, quiet))
    np.testing.assert_allclose(found["judge"]["kernel"], 0.1 * np.sqrt([0.5, 0.5]), rtol=1e-5)
    # Two parts of one player share a norm.
    found = moments(clip, loud)
    norm = np.sqrt(sum(np.sum(np.square(found[name]["kernel"])) for name in ("a", "b")))
    np.testing.assert_allclose(norm, 0.1, rtol=1e-5)
    # Without such players the optimizer is what it was; with them, parameters that lack the name are no error.
    jax.tree.map(np.testing.assert_array_equal, moments(clip, quiet), moments(alone, quiet))
