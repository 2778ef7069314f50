"""Schedule, weight decay mask, clipping and Adam itself, against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_runs
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import parameters
from musicgen_jax.training import optimizer


def settings(**changes) -> config.OptimizerConfig:
    return config.OptimizerConfig(**({"peak_learning_rate": 0.1, "clip_norm": 0.0} | changes))


MATRIX = parameters.Declaration("matrix", (-2,), (-1,))
CONVOLUTION = parameters.Declaration("matrix", (-3, -2), (-1,))
TABLE, BIAS, NORM, VECTOR = (parameters.Declaration(role) for role in ("embedding", "bias", "norm", "vector"))


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


@pytest.mark.parametrize("max_norm", [1.0, 100.0])
def test_a_norm_that_is_told_clips_as_one_that_is_computed(max_norm):
    gradients = {"a": jnp.arange(4.0), "b": -jnp.ones((2, 3))}
    clip = optimizer._clip(max_norm, ())
    computed, _ = clip.update(gradients, clip.init(gradients))
    told, _ = clip.update(gradients, clip.init(gradients), grad_norm=optax.tree.norm(gradients))
    reference = optax.clip_by_global_norm(max_norm).update(gradients, optax.EmptyState())[0]
    jax.tree.map(np.testing.assert_array_equal, told, computed)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), told, reference)


@pytest.mark.long
@pytest.mark.parametrize("name", ["adamw", "adafactor", "muon"])
@pytest.mark.parametrize("state_dtype", ["float32", "bfloat16"])
def test_weight_decay_is_for_matrices_and_tables(name, state_dtype):
    vectors = {
        "norm": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
        "start": jnp.ones(3),
        "layers": {"norm": {"scale": jnp.ones((2, 2))}, "gain": jnp.ones((2, 3)), "bias": jnp.ones((2, 2, 2))},
    }
    matrices = {"linear": {"kernel": jnp.ones((2, 2))}, "codes": jnp.ones((3, 2)), "layers": jnp.ones((2, 3, 2))}
    declared = {
        "vectors": {
            "norm": {"scale": NORM, "bias": BIAS},
            "start": VECTOR,
            "layers": {"norm": {"scale": NORM}, "gain": VECTOR, "bias": BIAS},
        },
        "matrices": {"linear": {"kernel": MATRIX}, "codes": TABLE, "layers": MATRIX},
    }
    params = {"vectors": vectors, "matrices": matrices}
    tx = optimizer.make_optimizer(
        settings(name=name, state_dtype=state_dtype, weight_decay=0.5), num_steps=10, declared=declared
    )
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    jax.tree.map(lambda x: np.testing.assert_allclose(x, -0.1 * 0.5, rtol=1e-6), updates["matrices"])
    jax.tree.map(lambda x: np.testing.assert_array_equal(x, 0), updates["vectors"])


def test_no_vector_of_a_real_model_decays():
    for task in (tiny_runs.prior_task(tiny_runs.prior_config("middle")), tiny_runs.vqvae_task()):
        params, decays = nnx.to_pure_dict(task.functional.abstract_params), optimizer.decays(task.functional.declared)
        decayed = jax.tree.map(lambda leaf, decays: leaf.shape if decays else None, params, decays)
        paths = jax.tree_util.tree_leaves_with_path(decayed, is_leaf=lambda x: isinstance(x, tuple))
        for path, shape in paths:
            names = [entry.key for entry in path]
            assert len(shape) - ("layers" in names) >= 2 and names[-1] not in ("bias", "scale"), names
        assert not decays.get("start", False) and len(paths) > 10


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
    params = {"a": {"kernel": jnp.zeros(2)}, "b": {"kernel": jnp.zeros(1)}}
    declared = jax.tree.map(lambda _: VECTOR, params)
    tx = optimizer.make_optimizer(settings(clip_norm=clip_norm, b1=0.8, b2=0.9), 10, declared)
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
    clip, alone = ("judge",), ()

    def moments(clipped_apart, tree):
        """Adam's first moment after one update: a tenth of the clipped gradient."""
        declared = jax.tree.map(lambda _: VECTOR, tree)
        tx = optimizer.make_optimizer(settings(clip_norm=1.0), 10, declared, clipped_apart)
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


def updates_of(name: str, gradients: list[dict], params: dict, declared: dict, **changes) -> list[dict]:
    """One update for each gradient; the parameters stay."""
    tx = optimizer.make_optimizer(settings(name=name, peak_learning_rate=1.0, **changes), 10, declared)
    opt_state, found = tx.init(params), []
    for gradient in gradients:
        updates, opt_state = jax.jit(tx.update)(gradient, opt_state, params)
        found.append(updates)
    return found


def test_adafactor():
    """Shazeer & Stern 2018, algorithm 4, with a first moment and without their relative step size."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (3, 130, 140), "bias": (5,)}  # three matrices; too small to be factored
    gradients = [{k: rng.normal(size=shape).astype(np.float32) for k, shape in shapes.items()} for _ in range(3)]
    params = jax.tree.map(np.zeros_like, gradients[0])
    found = updates_of("adafactor", gradients, params, {"kernel": MATRIX, "bias": BIAS}, b1=0.9, b2=0.6)
    row, col, v, m = np.zeros((3, 130)), np.zeros((3, 140)), np.zeros(5), {"kernel": 0.0, "bias": 0.0}
    for t, (gradient, updates) in enumerate(zip(gradients, found, strict=True), start=1):
        b2 = min(1 - t**-0.8, 0.6)
        square = {k: np.float64(g) ** 2 for k, g in gradient.items()}
        row = b2 * row + (1 - b2) * square["kernel"].mean(axis=2)
        col = b2 * col + (1 - b2) * square["kernel"].mean(axis=1)
        v = b2 * v + (1 - b2) * square["bias"]
        outer = row[:, :, None] * col[:, None] / row.mean(axis=1)[:, None, None]
        for name, second in (("kernel", outer), ("bias", v)):
            step = gradient[name] / np.sqrt(second)
            step = step / max(1, np.sqrt(np.mean(step**2)))
            m[name] = 0.9 * m[name] + 0.1 * step
            np.testing.assert_allclose(updates[name], -m[name] / (1 - 0.9**t), rtol=2e-4, atol=1e-6)


def orthogonalized(matrix: np.ndarray) -> np.ndarray:
    """Five quintic Newton-Schulz iterations (Jordan et al. 2024) for the shorter side; sized as Liu et al. 2025."""
    x = matrix.astype(np.float64) / np.linalg.norm(matrix)
    x = x.T if x.shape[0] > x.shape[1] else x
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    return 0.2 * np.sqrt(max(matrix.shape)) * x


def test_muon_orthogonalizes_each_matrix_and_leaves_tables_to_adam():
    rng = np.random.default_rng(0)
    shapes = {
        "codes": (11, 8),
        "project": {"kernel": (8, 5), "bias": (5,)},
        "conv": {"kernel": (3, 4, 6)},
        "stack": {
            "layers": {
                "attention": {"qkv": (2, 8, 3, 2, 3), "out": (2, 2, 3, 8), "distances": (2, 2, 4, 3)},
                "mlp": {"kernel": (2, 8, 12), "bias": (2, 12)},
            }
        },
    }
    gradient = jax.tree.map(
        lambda shape: rng.normal(size=shape).astype(np.float32), shapes, is_leaf=lambda x: isinstance(x, tuple)
    )
    attention = {
        "qkv": parameters.Declaration("matrix", (-4,), (-2, -1)),
        "out": parameters.Declaration("matrix", (-3, -2), (-1,)),
        "distances": TABLE,
    }
    declared = {
        "codes": TABLE,
        "project": {"kernel": MATRIX, "bias": BIAS},
        "conv": {"kernel": CONVOLUTION},
        "stack": {"layers": {"attention": attention, "mlp": {"kernel": MATRIX, "bias": BIAS}}},
    }
    (found,) = updates_of("muon", [gradient], jax.tree.map(np.zeros_like, gradient), declared)
    layers, got = gradient["stack"]["layers"], found["stack"]["layers"]
    pairs = [(gradient["project"]["kernel"], found["project"]["kernel"])]
    pairs += [(gradient["conv"]["kernel"].reshape(12, 6), found["conv"]["kernel"].reshape(12, 6))]
    for layer in range(2):
        pairs += [(layers["mlp"]["kernel"][layer], got["mlp"]["kernel"][layer])]
        pairs += [(layers["attention"]["out"][layer].reshape(6, 8), got["attention"]["out"][layer].reshape(6, 8))]
        for part in range(3):
            of_part = (side["attention"]["qkv"][layer, :, part].reshape(8, 6) for side in (layers, got))
            pairs += [tuple(of_part)]
    for before, after in pairs:
        np.testing.assert_allclose(after, -orthogonalized(before), rtol=1e-3, atol=1e-4)
    # Adam's first update is the sign of the gradient.
    for before, after in (
        (gradient["codes"], found["codes"]),
        (gradient["project"]["bias"], found["project"]["bias"]),
        (layers["attention"]["distances"], got["attention"]["distances"]),
        (layers["mlp"]["bias"], got["mlp"]["bias"]),
    ):
        np.testing.assert_allclose(after, -np.sign(before), rtol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "adafactor", "muon"])
def test_moments_in_bfloat16_take_half_the_memory_and_lead_to_the_same_place(name):
    rng = np.random.default_rng(0)
    inputs, target = rng.normal(size=(64, 8)), rng.normal(size=(8, 6))

    def loss(params):
        return jnp.mean((inputs @ params["linear"]["kernel"] + params["linear"]["bias"] - inputs @ target) ** 2)

    final, state_bytes = [], []
    for state_dtype in ("float32", "bfloat16"):
        tx = optimizer.make_optimizer(
            settings(name=name, state_dtype=state_dtype, decay="cosine", peak_learning_rate=0.05),
            num_steps=300,
            declared={"linear": {"kernel": MATRIX, "bias": BIAS}},
        )
        params = {"linear": {"kernel": jnp.zeros((8, 6)), "bias": jnp.zeros(6)}}

        @jax.jit
        def descend(params, tx=tx):
            def update(carry, _):
                params, opt_state = carry
                updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
                return (jax.tree.map(jnp.add, params, updates), opt_state), loss(params)

            return jax.lax.scan(update, (params, tx.init(params)), None, length=300)

        (_, opt_state), losses = descend(params)
        final.append(float(losses[-1]))
        moments = [leaf for leaf in jax.tree.leaves(opt_state) if leaf.ndim > 0 and leaf.size > 3]
        assert {leaf.dtype.name for leaf in moments} == {state_dtype}
        state_bytes.append(sum(leaf.nbytes for leaf in moments))
        assert losses[-1] < 0.01 * losses[0]
    assert state_bytes[1] * 2 == state_bytes[0]
    assert final[1] < 3 * final[0] + 1e-3
