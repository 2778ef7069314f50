"""A native checkpoint: a workdir with config.json and checkpoints/, as training writes it, but without a trainer."""

import pathlib
from typing import Any

import jax
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conversion import weight_table
from musicgen_jax.nn import modules
from musicgen_jax.training import checkpointing


def abstract(functional: modules.Functional) -> weight_table.Tree:
    """Shapes and dtypes of a model's weights, as the nested dict that tables point into."""
    return {
        "params": nnx.to_pure_dict(functional.abstract_params),
        "buffers": nnx.to_pure_dict(functional.abstract_buffers),
    }


def write(workdir: pathlib.Path, run: Any, model: Any, tree: weight_table.Tree) -> None:
    """Writes config.json and then the checkpoint.

    Args:
      workdir: new or empty.
      run: becomes config.json.
      model: the part of it that describes the weights.
      tree: {"params": ..., "buffers": ...}, all leaves that the model has; its arrays become JAX's, one by one.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    config.write_json(workdir / "config.json", run)
    _to_jax(tree)  # Orbax would copy NumPy arrays once more
    with checkpointing.Checkpointer(workdir, keep=1) as checkpointer:
        checkpointer.save_model(tree["params"], tree.get("buffers", {}), config.to_dict(model))


def _to_jax(tree: weight_table.Tree) -> None:
    for key, value in tree.items():
        if isinstance(value, dict):
            _to_jax(value)
        else:
            tree[key] = jax.device_put(value, jax.local_devices(backend="cpu")[0])
