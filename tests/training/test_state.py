"""Where the state of every optimizer lies on a mesh."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny_runs
import toy

from musicgen_jax import config
from musicgen_jax.data import loader
from musicgen_jax.sharding import meshes
from musicgen_jax.training import optimizer, state

TRAINING = config.TrainingConfig(num_steps=10)


def cube() -> jax.sharding.Mesh:
    return meshes.make_mesh(config.MeshConfig(data=2, fsdp=2, tensor=2), jax.devices()[:8])


def wide_config(tier: str) -> config.PriorConfig:
    """One layer, wide enough (128) that Adafactor keeps rows and columns."""
    model = tiny_runs.prior_config(tier)
    model.context, model.transformer.num_layers = 8, 1
    model.transformer.width, model.transformer.mlp_width = 128, 256
    return model


def settings(name: str, state_dtype: str) -> config.OptimizerConfig:
    return dataclasses.replace(tiny_runs.OPTIMIZER, name=name, state_dtype=state_dtype)


def specs_of(name: str, state_dtype: str) -> dict[str, tuple]:
    """Path -> (shape, spec, part of it that a device holds) of the optimizer's arrays and of the parameters."""
    task = tiny_runs.prior_task(wide_config("middle"))
    tx = optimizer.make_optimizer(settings(name, state_dtype), TRAINING.num_steps, task.functional.declared)
    made = state.abstract_state(task, TRAINING, tx, cube())
    leaves = jax.tree_util.tree_leaves_with_path({"params": made.params, "opt_state": made.opt_state})
    facts = {}
    for path, leaf in leaves:
        part = np.prod(leaf.sharding.shard_shape(leaf.shape)) / np.prod(leaf.shape)
        facts[jax.tree_util.keystr(path, simple=True, separator="/")] = (leaf.shape, tuple(leaf.sharding.spec), part)
    return facts


@pytest.mark.parametrize(("name", "state_dtype"), [("adamw", "float32"), ("adamw", "bfloat16"), ("muon", "bfloat16")])
def test_moments_lie_as_their_parameters(name, state_dtype):
    facts = specs_of(name, state_dtype)
    params = {path.removeprefix("params/"): fact for path, fact in facts.items() if path.startswith("params/")}
    moments = {path: fact for path, fact in facts.items() if path.startswith("opt_state/") and "/mu/" in path}
    assert len(moments) == len(params)
    for path, fact in moments.items():
        assert fact == params[path.split("/mu/")[1]], path
    assert params["codes"][0] != params["upsampler/codes"][0]  # one name is the end of the other


def test_rows_and_columns_of_adafactor():
    facts = specs_of("adafactor", "float32")

    def found(kind: str, path: str) -> tuple:
        (fact,) = [fact for name, fact in facts.items() if name.endswith(f"/{kind}/{path}") and "opt_state" in name]
        return fact

    kernel = "stack/layers/mlp/hidden/kernel"
    assert facts[f"params/{kernel}"] == ((1, 128, 256), (None, "fsdp", "tensor"), 1 / 4)
    assert found("v_row", kernel) == ((1, 128), (None, "fsdp"), 1 / 2)
    assert found("v_col", kernel) == ((1, 256), (None, "tensor"), 1 / 2)
    assert found("v", kernel) == ((1,), (), 1)
    assert found("ema", kernel) == facts[f"params/{kernel}"]
    qkv = "stack/layers/attention/qkv"
    assert found("v", qkv) == facts[f"params/{qkv}"]  # heads too small to be factored


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "state_dtype"),
    [("adafactor", "float32"), ("muon", "float32"), ("adamw", "bfloat16")],
)
def test_eight_devices_equal_one(name, state_dtype):
    model = wide_config("top")
    losses = []
    for mesh in (toy.mesh(), cube()):
        current, train_step = tiny_runs.start(tiny_runs.prior_task(model), TRAINING, mesh, settings(name, state_dtype))
        layout = jax.tree.map(lambda x: x.sharding, current)
        found = []
        with jax.set_mesh(mesh):
            for index in range(3):
                current, metrics = train_step(current, loader.to_device(tiny_runs.prior_batch(model, index), mesh))
                found.append(metrics)
        same = jax.tree.map(lambda x, old: x.sharding.is_equivalent_to(old, x.ndim), current, layout)
        assert jax.tree.all(same)
        losses.append(tiny_runs.losses(found))
    assert np.ptp(losses[0]) > 1e-2
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
