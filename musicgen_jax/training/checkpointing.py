"""Checkpoints: the only file that touches Orbax. CHECKPOINTS/STEP/ holds two items, `model` and `trainer`.

Sampling and evaluation read `model` alone. The format version and the config lie beside them as JSON; a checkpoint
that does not fit is refused with one error that lists every difference. A damaged one (a disk that lied, a copy that
was cut short) is never loaded: it is set aside, with a word, for the one before it.
"""

import contextlib
import errno
import logging
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from musicgen_jax.config import fields
from musicgen_jax.errors import NotFoundError, UserError
from musicgen_jax.training import state

FORMAT_VERSION = 1
# What a disk, a quota or a limit says when there is no room, from Python and from TensorStore.
NO_SPACE = ("No space left", "Disk quota exceeded", "File too large")
# What Orbax and TensorStore raise over files that are cut short or gone. Neither a lack of memory nor of permission.
UNREADABLE = (ValueError, KeyError, AttributeError, FileNotFoundError, EOFError)

_Result = TypeVar("_Result")


class DamagedError(UserError):
    """A checkpoint that was whole once, and is no more."""


class Checkpointer:
    """Writes and reads the checkpoints of one workdir. A context manager: leaving it waits for the last write.

    Args:
      workdir: of the run.
      keep: newest checkpoints kept; None opens the folder for reading alone, so that a run which is still writing
        there is left in peace.

    Raises:
      NotFoundError: opened for reading, and there is no such folder.
      OSError: from any method that writes or waits for a write, and on leaving: no space is left; says what to do.
    """

    def __init__(self, workdir: pathlib.Path, keep: int | None = None):
        self._directory, self._may_write = pathlib.Path(workdir).absolute() / "checkpoints", keep is not None
        if keep is None and not self._directory.is_dir():
            raise NotFoundError(f"{self._directory} does not exist: train first, or pass another folder")
        logging.getLogger("absl").addFilter(_is_news)
        policies = ocp.training.preservation_policies
        self._orbax = ocp.training.Checkpointer(
            self._directory,
            preservation_policy=policies.PreserveAll() if keep is None else policies.LatestN(keep),
            cleanup_tmp_directories=keep is not None,
        )

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, error_type: type | None, *_: object) -> None:
        if error_type is None:
            with self._space_explained():
                self._orbax.close()
            return
        with contextlib.suppress(OSError, ValueError):  # the error under way says more
            self._orbax.close()

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, or None. Waits for a write under way: half-written ones have another name."""
        with self._space_explained():
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
        items = _items(current)
        with self._space_explained():
            self._orbax.save_checkpointables_async(step, items, force=True, custom_metadata=_facts(items, config))

    def save_model(self, params: dict, buffers: dict, config: dict) -> None:
        """Writes weights that this code did not train, as step 0: to be read by `restore_model`, not resumed from.

        Memory holds them once more while they are written, and twice more if they are NumPy arrays.
        """
        items = {"model": {"params": params, "buffers": buffers, "ema_params": {}}}
        with self._space_explained():
            self._orbax.save_checkpointables(0, items, custom_metadata=_facts(items, config))

    def restore(self, abstract: state.TrainState, config: dict) -> state.TrainState:
        """The newest whole checkpoint, laid out as `abstract` says: the mesh may differ from the one that saved it.

        Args:
          abstract: state of ShapeDtypeStructs with shardings.
          config: the present run's model config, compared with the saved one to explain a mismatch.

        Raises:
          UserError: format version, config or any leaf differs; every difference is listed. Or all are damaged.
        """
        items = _items(abstract)

        def load(step: int) -> dict[str, Any]:
            self._check(self._metadata(step, items), items, config)
            return self._loaded(step, items)

        return _from_items(self._newest_whole(load), abstract)

    def restore_model(self, config: dict, abstract_params: Any, abstract_buffers: Any) -> tuple[dict, dict]:
        """(inference parameters, buffers) of the newest whole checkpoint, without the optimizer.

        Raises:
          NotFoundError: no complete checkpoint.
          UserError: as `restore`.
        """
        if self.latest_step() is None:
            raise NotFoundError(f"{self._directory} holds no complete checkpoint: train first, or pass another folder")
        model = {"params": abstract_params, "buffers": abstract_buffers}

        def load(step: int) -> dict[str, Any]:
            metadata = self._metadata(step, {"model": model})
            has_ema = bool(metadata.metadata["model"].get("ema_params"))
            items = {"model": model | {"ema_params": abstract_params if has_ema else {}}}
            self._check(metadata, items, config)
            return self._loaded(step, items)["model"]

        loaded = self._newest_whole(load)
        return loaded["ema_params"] or loaded["params"], loaded["buffers"]

    def _newest_whole(self, load: Callable[[int], _Result]) -> _Result:
        """`load(step)` of the newest checkpoint that is not damaged; sets the damaged ones aside."""
        damages = []
        while (step := self.latest_step() if self._may_write else self._before(len(damages))) is not None:
            try:
                return load(step)
            except DamagedError as error:
                damages.append(str(error))
                self._set_aside(step, damages[-1])
        raise DamagedError(
            f"no checkpoint in {self._directory} can be read ({'; '.join(damages)}): put a copy back, or start anew in "
            "another folder"
        )

    def _before(self, skipped: int) -> int | None:
        steps = [checkpoint.step for checkpoint in self._orbax.checkpoints]
        return steps[-1 - skipped] if skipped < len(steps) else None

    def _set_aside(self, step: int, damage: str) -> None:
        if jax.process_index() == 0:
            where = f"; it is now {step}.damaged" if self._may_write else ""
            print(f"warning: {damage}; the checkpoint before it is taken{where}", file=sys.stderr, flush=True)
        if not self._may_write:
            return
        _together("damage_seen")  # before the files go away under another process's hands
        if jax.process_index() == 0:
            place = self._directory / str(step)
            taken = len(list(self._directory.glob(f"{step}.damaged*")))
            place.rename(self._directory / f"{step}.damaged{taken or ''}")
        _together("damage_set_aside")
        self._orbax.reload()

    def _metadata(self, step: int, items: dict[str, Any]) -> Any:
        """Of a checkpoint that holds what was saved of `items`.

        Raises:
          DamagedError: it does not.
        """
        with self._damage_explained(step):
            metadata = self._orbax.checkpointables_metadata(step)
            if not metadata.custom_metadata:
                raise EOFError("its _CHECKPOINT_METADATA cannot be read")
            saved = metadata.custom_metadata.get("items", list(items))  # older checkpoints do not say
            for name in [name for name in items if name in saved]:
                leaves = _flatten(metadata.metadata.get(name) or {"": None})
                if any(leaf is None for leaf in leaves.values()):
                    raise EOFError(f"its item {name} is missing or cut short")
        return metadata

    def _loaded(self, step: int, items: dict[str, Any]) -> dict[str, Any]:
        if jax.process_count() == 1:
            with self._damage_explained(step):
                return self._orbax.load_checkpointables(step, items)
        # One process alone may see the damage, and the others then wait for it inside Orbax: no way back from here.
        try:
            return self._orbax.load_checkpointables(step, items)
        except UNREADABLE as error:
            raise UserError(
                f"checkpoint {step} in {self._directory} is damaged ({_first_line(error)}): move it elsewhere and run "
                "the same command again, which takes the one before it"
            ) from error

    @contextlib.contextmanager
    def _damage_explained(self, step: int) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            raise DamagedError(f"checkpoint {step} in {self._directory} is damaged: {_first_line(error)}") from error

    @contextlib.contextmanager
    def _space_explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            if not any(sign in str(error) for sign in NO_SPACE):
                raise
            raise OSError(
                errno.ENOSPC,
                "no space left for a checkpoint: free some, or set --config.training.keep_checkpoints lower, and run "
                "the same command again; training goes on from the newest whole checkpoint",
                str(self._directory),
            ) from error

    def _check(self, metadata: Any, items: dict[str, Any], config: dict) -> None:
        saved = metadata.custom_metadata or {}
        differences = []
        if saved.get("format_version") != FORMAT_VERSION:
            differences.append(f"format_version: checkpoint {saved.get('format_version')}, this code {FORMAT_VERSION}")
        differences += _differences(_compared(saved.get("config", {})), _compared(config))
        for name, item in items.items():
            stored = {path: _shape(leaf) for path, leaf in _flatten(metadata.metadata.get(name, {})).items()}
            wanted = {path: _shape(leaf) for path, leaf in _flatten(item).items()}
            differences += [f"{name}/{line}" for line in _differences(stored, wanted)]
        if differences:
            raise UserError(
                f"the checkpoint in {self._directory} does not fit this model; use the config it was trained with, or "
                f"another folder: {'; '.join(differences)}"
            )


def _is_news(record: logging.LogRecord) -> bool:
    """Not so the tracebacks of Orbax's threads: each of a dozen logs an error that the caller gets as well."""
    return not (record.exc_info and "orbax" in record.pathname)


def _facts(items: dict[str, Any], config: dict) -> dict[str, Any]:
    return {"format_version": FORMAT_VERSION, "config": config, "items": sorted(items)}


def _together(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").split("\n")[0][:200] or type(error).__name__


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


def _compared(config: dict) -> dict[str, Any]:
    """What two model configs must agree on, by path."""
    values = fields.YOUNGER | _flatten(config)
    return {path: value for path, value in values.items() if path not in fields.LEVERS}


def _shape(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _differences(stored: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    lines = []
    for path in sorted(set(stored) | set(wanted)):
        old, new = stored.get(path, "absent"), wanted.get(path, "absent")
        if old != new:
            lines.append(f"{path}: checkpoint {old}, this run {new}")
    return lines
