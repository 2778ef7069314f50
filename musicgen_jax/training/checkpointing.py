"""Checkpoints: the only file that touches Orbax. CHECKPOINTS/STEP/ holds two items, `model` and `trainer`.

Sampling and evaluation read `model` alone. The format version and the config lie beside them as JSON; a checkpoint
that does not fit is refused with one error that lists every difference.
"""

import pathlib
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from musicgen_jax.training import state

FORMAT_VERSION = 1


class Checkpointer:
    """Writes and reads the checkpoints of one workdir. A context manager: leaving it waits for the last write.

    Args:
      workdir: of the run.
      keep: newest checkpoints kept; None opens the folder for reading alone, so that a run which is still writing
        there is left in peace.

    Raises:
      FileNotFoundError: opened for reading, and there is no such folder.
    """

    def __init__(self, workdir: pathlib.Path, keep: int | None = None):
        self._directory = pathlib.Path(workdir).absolute() / "checkpoints"
        if keep is None and not self._directory.is_dir():
            raise FileNotFoundError(f"{self._directory} does not exist: train first, or pass another folder")
        policies = ocp.training.preservation_policies
        self._orbax = ocp.training.Checkpointer(
            self._directory,
            preservation_policy=policies.PreserveAll() if keep is None else policies.LatestN(keep),
            cleanup_tmp_directories=keep is not None,
        )

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, *_: object) -> None:
        self._orbax.close()

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, or None. Waits for a write under way: half-written ones have another name."""
        self._orbax.wait()
        latest = self._orbax.latest
        return None if latest is None else latest.step

    def save(self, current: state.TrainState, config: dict) -> None:
        """Starts writing `current`; returns when it has been copied off the devices.

        Waits for the previous write first (in `latest_step`): Orbax would otherwise leave this one out without a word.
        """
        step = int(current.step)
        if self.latest_step() == step:
            return
        metadata = {"format_version": FORMAT_VERSION, "config": config}
        self._orbax.save_checkpointables_async(step, _items(current), force=True, custom_metadata=metadata)

    def save_model(self, params: dict, buffers: dict, config: dict) -> None:
        """Writes weights that this code did not train, as step 0: to be read by `restore_model`, not resumed from.

        Memory holds them once more while they are written, and twice more if they are NumPy arrays.
        """
        metadata = {"format_version": FORMAT_VERSION, "config": config}
        model = {"params": params, "buffers": buffers, "ema_params": {}}
        self._orbax.save_checkpointables(0, {"model": model}, custom_metadata=metadata)

    def restore(self, abstract: state.TrainState, config: dict) -> state.TrainState:
        """The newest checkpoint, laid out as `abstract` says: the mesh may differ from the one that saved it.

        Args:
          abstract: state of ShapeDtypeStructs with shardings.
          config: the present run's model config, compared with the saved one to explain a mismatch.

        Raises:
          ValueError: format version, config or any leaf differs; every difference is listed.
        """
        step = self.latest_step()
        metadata = self._orbax.checkpointables_metadata(step)
        items = _items(abstract)
        self._check(metadata, items, config)
        loaded = self._orbax.load_checkpointables(step, items)
        return _from_items(loaded, abstract)

    def restore_model(self, config: dict, abstract_params: Any, abstract_buffers: Any) -> tuple[dict, dict]:
        """(inference parameters, buffers) of the newest checkpoint, without the optimizer.

        Raises:
          FileNotFoundError: no complete checkpoint.
          ValueError: as `restore`.
        """
        step = self.latest_step()
        if step is None:
            raise FileNotFoundError(
                f"{self._directory} holds no complete checkpoint: train first, or pass another folder"
            )
        metadata = self._orbax.checkpointables_metadata(step)
        has_ema = bool(metadata.metadata.get("model", {}).get("ema_params"))
        model = {"params": abstract_params, "buffers": abstract_buffers}
        model |= {"ema_params": abstract_params} if has_ema else {"ema_params": {}}
        self._check(metadata, {"model": model}, config)
        loaded = self._orbax.load_checkpointables(step, {"model": model})["model"]
        return loaded["ema_params"] or loaded["params"], loaded["buffers"]

    def _check(self, metadata: Any, items: dict[str, Any], config: dict) -> None:
        saved = metadata.custom_metadata or {}
        differences = []
        if saved.get("format_version") != FORMAT_VERSION:
            differences.append(f"format_version: checkpoint {saved.get('format_version')}, this code {FORMAT_VERSION}")
        differences += _differences(_flatten(saved.get("config", {})), _flatten(config))
        for name, item in items.items():
            stored = {path: _shape(leaf) for path, leaf in _flatten(metadata.metadata.get(name, {})).items()}
            wanted = {path: _shape(leaf) for path, leaf in _flatten(item).items()}
            differences += [f"{name}/{line}" for line in _differences(stored, wanted)]
        if differences:
            raise ValueError(
                f"the checkpoint in {self._directory} does not fit this model; use the config it was trained with, or "
                f"another folder: {'; '.join(differences)}"
            )


def _items(current: state.TrainState) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(current.opt_state)
    return {
        "model": {"params": current.params, "buffers": current.buffers, "ema_params": current.ema_params},
        "trainer": {
            "step": current.step,
            "opt_state": {_key(path): leaf for path, leaf in leaves},
            "loss_scale": current.loss_scale.scale,
            "good_steps": current.loss_scale.good_steps,
            "skipped": current.skipped,
            "skipped_in_a_row": current.skipped_in_a_row,
        },
    }


def _from_items(items: dict[str, Any], abstract: state.TrainState) -> state.TrainState:
    model, trainer = items["model"], items["trainer"]
    paths = jax.tree_util.tree_leaves_with_path(abstract.opt_state)
    leaves = [trainer["opt_state"][_key(path)] for path, _ in paths]
    loss_scale = type(abstract.loss_scale)(scale=trainer["loss_scale"], good_steps=trainer["good_steps"])
    return state.TrainState(
        step=trainer["step"],
        params=model["params"],
        buffers=model["buffers"],
        ema_params=model["ema_params"],
        opt_state=jax.tree.unflatten(jax.tree.structure(abstract.opt_state), leaves),
        loss_scale=loss_scale,
        skipped=trainer["skipped"],
        skipped_in_a_row=trainer["skipped_in_a_row"],
    )


def _key(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts -> {"a/b/c": leaf}; lists are leaves."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat = {}
    for name, value in tree.items():
        flat |= _flatten(value, f"{prefix}/{name}" if prefix else str(name))
    return flat


def _shape(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _differences(stored: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    lines = []
    for path in sorted(set(stored) | set(wanted)):
        old, new = stored.get(path, "absent"), wanted.get(path, "absent")
        if old != new:
            lines.append(f"{path}: checkpoint {old}, this run {new}")
    return lines
