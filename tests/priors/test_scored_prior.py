"""A prior that is told the score learns codes that only the score knows, and keeps to the past where it is not told."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny_priors
import tiny_runs

from musicgen_jax import config
from musicgen_jax.conditions import score
from musicgen_jax.sharding import meshes

MODEL = dataclasses.replace(tiny_runs.prior_config("top"), score=True, score_dropout=0.2, score_notes=6)


def batch_of(step: int) -> dict[str, np.ndarray]:
    """Codes are the number of pitches that sound, of random notes."""
    seconds = MODEL.context / MODEL.codes_per_second
    notes = tiny_priors.notes(np.random.default_rng(step), tiny_runs.BATCH_SIZE, seconds, MODEL.score_notes)
    planes = np.asarray(score.planes(notes, MODEL.context, MODEL.codes_per_second))
    codes = planes[..., : score.PITCHES].sum(axis=-1).astype(np.int32)[..., None]
    scored = np.ones(tiny_runs.BATCH_SIZE, bool)
    return tiny_runs.prior_batch(MODEL, step) | {"codes": codes, "notes": notes, "scored": scored}


@pytest.mark.slow
def test_it_learns_what_only_the_score_knows():
    """Measured after 120 steps: 0.07 nats a code with the score, 0.74 without."""
    task = tiny_runs.prior_task(MODEL)
    settings = dataclasses.replace(tiny_runs.OPTIMIZER, peak_learning_rate=2e-2)
    training, mesh = config.TrainingConfig(num_steps=120), meshes.single_device_mesh()
    state, train_step = tiny_runs.start(task, training, mesh, settings)
    for step in range(120):
        state, _ = train_step(state, batch_of(step))
    model = task.functional.bind(state.params, {})
    nats = {}
    for scored in (True, False):
        batch = batch_of(1000)
        batch["scored"][:] = scored
        nats[scored] = float(jax.jit(lambda batch: task.loss(model, batch, None, False)[0])(batch))
    assert nats[True] < 0.3 < 0.5 < nats[False]


@pytest.mark.long
def test_the_shapes_of_a_batch_are_those_that_the_task_names():
    task, batch = tiny_runs.prior_task(MODEL), batch_of(0)
    assert {name: (one.shape, one.dtype) for name, one in task.batch.items()} == {
        name: (array.shape, array.dtype) for name, array in batch.items()
    }
