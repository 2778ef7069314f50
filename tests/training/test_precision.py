"""Dynamic loss scaling, and steps of a prior in every compute dtype."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs
import toy

from musicgen_jax import config
from musicgen_jax.training import precision


def test_scale_halves_on_overflow_and_doubles_after_the_interval():
    scale = precision.initial_loss_scale("float16")
    assert float(scale.scale) == 2.0**16
    scale = scale.update(jnp.bool_(True)).update(jnp.bool_(False))
    assert (float(scale.scale), int(scale.good_steps)) == (2.0**15, 0)
    scale.good_steps = jnp.int32(precision.GROWTH_INTERVAL - 2)
    scale = scale.update(jnp.bool_(True))
    assert (float(scale.scale), int(scale.good_steps)) == (2.0**15, precision.GROWTH_INTERVAL - 1)
    scale = scale.update(jnp.bool_(True))
    assert (float(scale.scale), int(scale.good_steps)) == (2.0**16, 0)


def test_scale_stays_within_its_limits():
    scale = precision.LossScale(jnp.float32(1.0), jnp.int32(0)).update(jnp.bool_(False))
    assert float(scale.scale) == 1.0
    grown = precision.LossScale(jnp.float32(precision.MAX_SCALE), jnp.int32(precision.GROWTH_INTERVAL - 1))
    assert float(grown.update(jnp.bool_(True)).scale) == precision.MAX_SCALE
    for dtype in ("float32", "bfloat16"):
        identity = precision.initial_loss_scale(dtype)
        assert float(precision.update_loss_scale(identity, jnp.bool_(False), dtype).scale) == 1.0


@functools.cache
def prior_losses(compute_dtype: str) -> np.ndarray:
    """Losses of six steps on one batch; checks the dtypes on the way."""
    model = tiny_runs.prior_config("top")
    batch = tiny_runs.prior_batch(model, 0)
    training = config.TrainingConfig(num_steps=10, compute_dtype=compute_dtype, ema_decay=0.5)
    current, train_step = tiny_runs.start(tiny_runs.prior_task(model, compute_dtype), training, toy.mesh())
    found = []
    for _ in range(6):
        current, metrics = train_step(current, batch)
        found.append(metrics)
    floats = [leaf for leaf in jax.tree.leaves(current) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in floats} == {jnp.dtype("float32")}
    assert int(current.skipped) == 0
    return tiny_runs.losses(found)


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mixed_precision_trains_float32_parameters(dtype):
    mixed, exact = prior_losses(dtype), prior_losses("float32")
    assert mixed[-1] < mixed[0]
    assert not np.array_equal(mixed, exact)  # it did compute in another dtype
    np.testing.assert_allclose(mixed, exact, rtol=5e-3)


def test_float16_overflow_halves_the_scale_and_is_no_divergence():
    model = tiny_runs.prior_config("top")
    training = config.TrainingConfig(num_steps=10, compute_dtype="float16")
    current, train_step = tiny_runs.start(tiny_runs.prior_task(model, "float16"), training, toy.mesh())
    huge = 2.0**40  # the first halvings cannot cure it
    current.loss_scale.scale = jax.device_put(np.float32(huge), current.loss_scale.scale.sharding)
    before = jax.device_get((current.params, current.opt_state))
    for index in range(3):
        current, metrics = train_step(current, tiny_runs.prior_batch(model, index))
        assert np.isfinite(metrics["loss"]) and not np.isfinite(metrics["grad_norm"])
    assert toy.equal((current.params, current.opt_state), before)
    assert float(current.loss_scale.scale) == huge / 8
    assert (int(current.skipped), int(current.skipped_in_a_row)) == (3, 0)
