"""Runs that start from given weights."""

import jax
import numpy as np
import pytest
import toy

from musicgen_jax import config
from musicgen_jax.training import loop, start


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_training_goes_on_from_them(tmp_path, ema_decay):
    """A step of learning rate almost zero leaves the weights as they were given."""
    task = toy.task()
    optimizer = config.OptimizerConfig(peak_learning_rate=1e-12)
    settings = toy.Run(optimizer=optimizer, training=config.TrainingConfig(num_steps=1, ema_decay=ema_decay))
    given = jax.tree.map(lambda leaf: np.full(leaf.shape, 7, leaf.dtype), task.functional.init(jax.random.key(0))[0])
    start.from_weights(task, settings, tmp_path, toy.mesh(), given)
    final = loop.train(task, settings, tmp_path, toy.mesh(), toy.batches_from(), lambda: iter(()))
    jax.tree.map(lambda leaf: np.testing.assert_allclose(leaf, 7), final.inference_params())
    assert int(final.step) == 1
    # A run that has begun keeps what it has learnt.
    others = jax.tree.map(lambda leaf: leaf + 1, given)
    start.from_weights(task, settings, tmp_path, toy.mesh(), others)
    again = loop.train(task, settings, tmp_path, toy.mesh(), toy.batches_from(), lambda: iter(()))
    assert toy.equal(again.params, final.params)
