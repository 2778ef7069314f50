"""Eight devices compute what one computes."""

import functools

import jax
import numpy as np
import pytest
import tiny_runs

from musicgen_jax import config
from musicgen_jax.data import loader
from musicgen_jax.sharding import meshes
from musicgen_jax.training import state

pytestmark = pytest.mark.long

STEPS = 5


def train(task: state.Task, batches: list, mesh: jax.sharding.Mesh, accumulation_steps: int = 1) -> np.ndarray:
    """Losses of five steps; the state's layout must not drift on the way."""
    training = config.TrainingConfig(num_steps=100, ema_decay=0.9, accumulation_steps=accumulation_steps)
    current, train_step = tiny_runs.start(task, training, mesh)
    layout = jax.tree.map(lambda x: x.sharding, current)
    found = []
    with jax.set_mesh(mesh), jax.log_compiles():
        for batch in batches:
            current, metrics = train_step(current, loader.to_device(batch, mesh))
            found.append(metrics)
    same = jax.tree.map(lambda x, old: x.sharding.is_equivalent_to(old, x.ndim), current, layout)
    assert jax.tree.all(same)
    assert int(current.skipped) == 0
    return tiny_runs.losses(found)


def task_and_batches(name: str) -> tuple[state.Task, list]:
    if name == "vqvae":
        return tiny_runs.vqvae_task(), [tiny_runs.vqvae_batch(index) for index in range(STEPS)]
    model = tiny_runs.prior_config("middle")
    if "lstm" in name:
        model.transformer.layer = "lstm"
    shard_sequence = name == "prior, sequence"
    if shard_sequence:
        # Chunks of 11, 11 and 10 of the 32 codes: none of them divides over the devices as the whole does.
        model.loss_chunk = 11
    return tiny_runs.prior_task(model, shard_sequence=shard_sequence), [
        tiny_runs.prior_batch(model, index) for index in range(STEPS)
    ]


@functools.cache
def one_device(name: str) -> np.ndarray:
    return train(*task_and_batches(name), meshes.make_mesh(config.MeshConfig(), jax.devices()[:1]))


@pytest.mark.parametrize(
    ("name", "accumulation_steps"),
    [
        ("vqvae", 1),
        ("prior", 1),
        ("prior, sequence", 1),
        ("lstm prior", 1),
        ("prior", 2),
    ],
)
def test_eight_devices_equal_one(name, accumulation_steps, capfd, caplog):
    one = one_device(name.partition(",")[0])
    caplog.clear()
    cube = meshes.make_mesh(config.MeshConfig(data=2, fsdp=2, tensor=2), jax.devices()[:8])
    eight = train(*task_and_batches(name), cube, accumulation_steps)
    np.testing.assert_allclose(eight, one, rtol=1e-5)
    assert np.ptp(one) > 1e-2  # five equal losses would agree on any mesh
    assert "rematerialization" not in capfd.readouterr().err
    compilations = [line for line in caplog.messages if line.startswith("Finished XLA compilation of jit(train_step)")]
    assert len(compilations) == 1
