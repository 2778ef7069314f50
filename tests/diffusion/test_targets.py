"""What a student learns: masks, weights, and that the targets have the optimum that they should."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_diffusion
import tiny_priors

from musicgen_jax.diffusion import masking, targets
from musicgen_jax.priors import loss

MODEL = tiny_diffusion.model_config()
STUDENT = tiny_diffusion.trained_diffusion(MODEL)
PRIOR = tiny_priors.trained_prior(tiny_priors.model_config("middle"), seed=1)
BATCH = {name: jnp.asarray(x) for name, x in tiny_priors.batch(MODEL, size=8).items()}
LENGTHS = np.array([12, 12, 12, 12, 12, 12, 12, 9])
BATCH["mask"] = jnp.asarray(np.arange(12) < LENGTHS[:, None])
EXISTS = np.asarray(BATCH["mask"])
KEYS = [jax.random.key(seed) for seed in range(3)]
STEPS = 3


TEACH_BY_PRIOR = jax.jit(lambda key: targets.prior_targets(PRIOR.functional.bind(*PRIOR.weights), BATCH, key))
TEACH_IN_STEPS = jax.jit(
    lambda key, soft_share: targets.step_targets(
        STUDENT.functional.bind(*STUDENT.weights), BATCH, key, STEPS, soft_share
    )
)
HIDDEN = jax.jit(lambda batch: STUDENT.functional.bind(*STUDENT.weights).hidden(batch))


def taught_by_prior(key: jax.Array) -> dict[str, np.ndarray]:
    return jax.device_get(TEACH_BY_PRIOR(key))


def taught_in_steps(key: jax.Array, soft_share: float = 0.5) -> dict[str, np.ndarray]:
    return jax.device_get(TEACH_IN_STEPS(key, soft_share))


def test_a_causal_teacher_is_exact_behind_all_known_codes_and_only_there():
    """E[p(x_t | x_<t) | known] against p(x_t | known), by enumeration of a joint table and of all masks."""
    joint = tiny_diffusion.joint((3, 3, 3))
    sequences = np.array(list(itertools.product(range(3), repeat=3)))
    causal = np.stack([joint.sum(axis=tuple(range(t + 1, 3))) for t in range(1)])  # p(x_0)
    tables = [causal[0], joint.sum(axis=2), joint]
    conditional = [table / table.sum(axis=-1, keepdims=True) for table in tables]
    for known in itertools.product([False, True], repeat=3):
        exact_places = np.asarray(targets.behind_all_known(jnp.array([known])))[0]
        for values in itertools.product(range(3), repeat=sum(known)):
            fits = np.all(sequences[:, list(known)] == values, axis=1)
            weights = fits * joint.ravel() / joint.ravel()[fits].sum()
            for t in (t for t in range(3) if not known[t]):
                truth = np.bincount(sequences[:, t], weights, minlength=3)
                target = sum(w * conditional[t][tuple(s[:t])] for w, s in zip(weights, sequences, strict=True))
                assert np.allclose(target, truth, atol=1e-12) == exact_places[t]


@pytest.mark.long
@pytest.mark.parametrize("key", KEYS)
def test_weights_of_a_window_sum_to_its_codes(key):
    for found in (taught_by_prior(key), taught_in_steps(key)):
        sums = (found["hard"] + found["soft"]).sum(axis=1)
        np.testing.assert_allclose(sums, LENGTHS * (sums > 0), rtol=1e-5)
        assert np.all(sums[:7] > 0)  # behind the end of the last row a stretch may have no code
        known = found["noised"][..., 0] != MODEL.num_codes
        np.testing.assert_array_equal(found["noised"][known], BATCH["codes"][known])
        assert not np.any(known & ~EXISTS) and not np.any((found["hard"] + found["soft"])[known | ~EXISTS])


@pytest.mark.long
@pytest.mark.parametrize("key", KEYS)
def test_the_priors_probabilities_are_used_where_they_are_exact(key):
    found = taught_by_prior(key)
    known = found["noised"][..., 0] != MODEL.num_codes
    behind = np.arange(12) > np.max(np.where(known, np.arange(12), -1), axis=1, keepdims=True)
    np.testing.assert_array_equal(found["soft"] > 0, behind & EXISTS)
    np.testing.assert_array_equal(found["hard"] > 0, EXISTS & ~known & ~behind)
    teacher = PRIOR.functional.bind(*PRIOR.weights)
    np.testing.assert_allclose(
        teacher.predict(jnp.asarray(found["taught"])), teacher(BATCH)[:, :, 0], rtol=1e-4, atol=1e-4
    )


def test_masks_of_all_kinds_come_up():
    keys = jax.random.split(jax.random.key(0), 60)
    draw = jax.jit(jax.vmap(lambda key: targets.draw_known(key, BATCH["mask"], BATCH["start"])))
    known = np.asarray(draw(keys))[:, :7]  # rows that are whole
    assert np.unique(known.sum(axis=-1)).size == 12  # from none to all but one
    tails = ~known[..., 6:].any(axis=-1)
    assert 0.2 < tails.mean() < 0.8
    stretches = known[..., 0] & known[..., -1] & (known.sum(axis=-1) < 11)
    assert stretches.any()


@pytest.mark.parametrize("key", KEYS)
def test_a_step_is_two_of_the_teachers(key):
    found = taught_in_steps(key)
    drawn, known = (found["hard"] + found["soft"]) > 0, found["noised"][..., 0] != MODEL.num_codes
    alone = np.asarray(HIDDEN(BATCH | {"codes": found["noised"]}))
    as_seen = np.abs(found["taught"] - alone).max(axis=-1) < 1e-4
    between = np.where((known | (drawn & as_seen))[..., None], BATCH["codes"], MODEL.num_codes)
    again = np.asarray(HIDDEN(BATCH | {"codes": between}))
    for row in range(8):
        first_half, second_half = drawn[row] & as_seen[row], drawn[row] & ~as_seen[row]
        assert abs(int(first_half.sum()) - int(second_half.sum())) <= 1
        np.testing.assert_allclose(found["taught"][row, second_half], again[row, second_half], atol=1e-4)
    # Rows in which nothing was known at first go through the sampler's own steps.
    bounds = np.asarray(masking.step_bounds(jnp.array([12]), STEPS, "linear"))[:, 0]
    assert {int(known[row].sum()) for row in range(0, 7, 2)} <= set(bounds[:-1].tolist())


def test_soft_share():
    found = taught_in_steps(KEYS[0], soft_share=0.25)
    np.testing.assert_allclose(found["soft"] * 3, found["hard"], rtol=1e-5)


@pytest.mark.long
def test_the_loss_is_least_where_student_and_teacher_agree():
    student = STUDENT.functional.bind(*STUDENT.weights)
    found = {name: jnp.asarray(x) for name, x in taught_in_steps(KEYS[0], soft_share=1.0).items()}
    own = found | {"taught": student.hidden(found | {"codes": found["noised"]})}
    value, means = targets.distillation_loss(student, own, None, student.predict)
    assert float(value) == pytest.approx(0, abs=1e-4) and float(means["divergence"]) == pytest.approx(0, abs=1e-4)
    value, means = targets.distillation_loss(student, own, None, lambda x: 0.5 * student.predict(x))
    assert float(value) > 0.01 and float(value) == pytest.approx(float(means["divergence"]), rel=1e-4)


@pytest.mark.long
def test_without_soft_targets_the_loss_is_the_cross_entropy():
    student = STUDENT.functional.bind(*STUDENT.weights)
    found = {name: jnp.asarray(x) for name, x in taught_in_steps(KEYS[1], soft_share=0.0).items()}
    value, _ = targets.distillation_loss(student, found, None, student.predict)
    logits = student(found | {"codes": found["noised"]})[:, :, 0]
    expected = jnp.sum(loss.code_losses(logits, found["codes"][..., 0]) * found["hard"]) / LENGTHS.sum()
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
