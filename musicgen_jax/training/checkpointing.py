"""Checkpoints: the only file that touches Orbax. CHECKPOINTS/STEP/ holds two items, `model` and `trainer`.

Sampling and evaluation read `model` alone. The format version, the config, and shape and digest of every array lie
beside them as JSON; a checkpoint that does not fit is refused with one error that lists every difference. A damaged one
(a disk that lied, a copy that was cut short) is never loaded: it is set aside, with a word, for the one before it, once
that one is loaded. One that could not be read is left alone, and ends the command (`damage`).
"""

import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost
from orbax.checkpoint import v1 as ocp

from musicgen_jax.runtime import buckets, console, files
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.training import contents, damage, digests, orbax_noise, state, verification

IN_BUCKETS = "commit_success.txt"  # Orbax's mark of a whole checkpoint
DAMAGED, HALF_WRITTEN = ".damaged", "*.orbax-checkpoint-tmp*"  # in the names of folders
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a disk, a quota or a limit says when there is no room
LITTLE_SPACE = 2**20  # bytes: less is a full disk

_Result = TypeVar("_Result")


class Checkpointer:
    """Writes and reads the checkpoints of one workdir. A context manager: leaving it waits for the last write.

    All processes of a run call the same methods in the same order.

    Args:
      workdir: of the run.
      keep: newest checkpoints kept; None opens the folder for reading alone, so that a run which is still writing
        there is left in peace.

    Raises:
      NotFoundError: opened for reading, and there is no such folder.
      OSError: from any method that writes or waits for a write, and on leaving: there is no space left, or no right to
        write; says what to do.
    """

    def __init__(self, workdir: pathlib.Path, keep: int | None = None):
        self._in_bucket, self._may_write = bool(buckets.url_of(workdir)), keep is not None
        self._directory = buckets.place(pathlib.Path(workdir).absolute()) / buckets.CHECKPOINTS
        if keep is None and not self._directory.is_dir():
            raise NotFoundError(f"{self._directory} does not exist: train first, or pass another folder")
        orbax_noise.silence()
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
            with self._writing():
                self._orbax.close()
            return
        with contextlib.suppress(OSError, ValueError):  # the error under way says more
            self._orbax.close()

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, or None. Waits for a write under way: half-written ones have another name.

        Raises:
          damage.DamagedError: there is none but what was set aside.
        """
        steps, aside = self._found()
        if aside and not steps:
            raise self._nothing_whole([], aside)
        return steps[0] if steps else None

    def fingerprints(self) -> list[tuple[int, str]]:
        """(step, `contents.fingerprint`) of every checkpoint, newest first, by the facts beside its arrays.

        Raises:
          damage.DamagedError, damage.UnreadableError: facts cannot be told.
        """
        return [(step, contents.fingerprint(self._facts(step)[0])) for step in self._found()[0]]

    def save(self, current: state.TrainState, config: dict) -> None:
        """Starts writing `current`; returns when it has been copied off the devices.

        Waits for the previous write first (in `latest_step`): Orbax would otherwise leave this one out without a word.
        """
        step = int(current.step)
        if self.latest_step() == step:
            return
        items = contents.items(current)
        with self._writing():
            self._orbax.save_checkpointables_async(
                step, items, force=True, custom_metadata=contents.facts(items, config)
            )

    def save_model(self, params: dict, buffers: dict, config: dict) -> None:
        """Writes weights that this code did not train, as step 0: to be read by `restore_model`, not resumed from.

        Memory holds them once more while they are written, and twice more if they are NumPy arrays.
        """
        items = {"model": {"params": params, "buffers": buffers, "ema_params": {}}}
        with self._writing():
            self._orbax.save_checkpointables(0, items, custom_metadata=contents.facts(items, config))

    def restore(self, abstract: state.TrainState, config: dict) -> state.TrainState | None:
        """The newest whole checkpoint, laid out as `abstract` says: the mesh may differ from the one that saved it.

        Args:
          abstract: state of ShapeDtypeStructs with shardings.
          config: the present run's model config, compared with the saved one to explain a mismatch.

        Returns:
          None where there never was a checkpoint.

        Raises:
          UserError: format version, config or any leaf differs; every difference is listed.
          damage.DamagedError: there are checkpoints, or what was set aside, and none is whole.
          damage.UnreadableError: the storage failed; nothing was changed.
        """
        items = contents.items(abstract)

        def load(step: int) -> dict[str, Any]:
            facts, stored = self._facts(step)
            self._check_fit(facts, stored, items, config)
            return self._loaded(step, facts, items)

        loaded = self._newest_whole(load)
        return None if loaded is None else contents.from_items(loaded, abstract)

    def restore_model(
        self, config: dict, abstract_params: Any, abstract_buffers: Any, step: int | None = None
    ) -> tuple[dict, dict]:
        """(inference parameters, buffers) of the newest whole checkpoint, or of `step`, without the optimizer.

        Raises:
          NotFoundError: no complete checkpoint.
          UserError, damage.DamagedError, damage.UnreadableError: as `restore`.
        """
        model = {"params": abstract_params, "buffers": abstract_buffers}

        def load(step: int) -> dict[str, Any]:
            facts, stored = self._facts(step)
            has_ema = any(path.startswith("ema_params/") for path in stored.get("model", {}))
            items = {"model": model | {"ema_params": abstract_params if has_ema else {}}}
            self._check_fit(facts, stored, items, config)
            return self._loaded(step, facts, items)["model"]

        loaded = self._newest_whole(load) if step is None else load(step)
        if loaded is None:
            raise NotFoundError(f"{self._directory} holds no complete checkpoint: train first, or pass another folder")
        return loaded["ema_params"] or loaded["params"], loaded["buffers"]

    def _newest_whole(self, load: Callable[[int], _Result]) -> _Result | None:
        """`load(step)` of the newest checkpoint that is not damaged; sets the damaged ones aside.

        Not before a whole one is loaded: what makes all of them look damaged, such as another version of a library,
        changes nothing.
        """
        damaged: dict[int, str] = {}
        steps, aside = self._found()
        for step in steps:
            try:
                loaded = load(step)
            except damage.DamagedError as error:
                damaged[step] = str(error)
                continue
            self._set_aside(damaged)
            return loaded
        if damaged or aside:
            raise self._nothing_whole(list(damaged.values()), aside)
        return None

    def _nothing_whole(self, reasons: list[str], aside: list[str]) -> damage.DamagedError:
        reasons = reasons + [f"{name} was set aside" for name in aside]
        return damage.DamagedError(
            f"no checkpoint in {self._directory} is whole ({'; '.join(reasons)}): put a copy back, or start anew in "
            "another folder"
        )

    def _found(self) -> tuple[list[int], list[str]]:
        """Steps of the checkpoints there, newest first, and names of what was set aside; as process 0 sees them."""
        with self._writing():
            self._orbax.wait()

        def listed() -> str:
            with damage.explained(str(self._directory)):
                empty = self._in_bucket and not self._directory.is_dir()  # there are no folders but those of objects
                names = [] if empty else sorted(path.name for path in self._directory.iterdir())
            steps = sorted((int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name)), reverse=True)
            return json.dumps([self._begun_and_ended(steps[:50]), [name for name in names if DAMAGED in name][:5]])

        steps, aside = json.loads(damage.from_all(damage.agreed(listed))[0])
        return steps, aside

    def _begun_and_ended(self, steps: list[int]) -> list[int]:
        """In a bucket nothing can be renamed when it is whole: Orbax writes a mark there, behind all else."""
        if not self._in_bucket:
            return steps
        return [step for step in steps if (self._directory / str(step) / IN_BUCKETS).exists()]

    def _set_aside(self, damaged: dict[int, str]) -> None:
        if not damaged:
            return
        _together("damage_seen")  # before the files go away under another process's hands
        for step, reason in damaged.items() if jax.process_index() == 0 else ():
            where = f"; it is now {self._move_aside(step)}" if self._may_write else ""
            console.say(f"warning: {reason}; the checkpoint before it is taken{where}")
        _together("damage_set_aside")
        self._orbax.reload()

    def _move_aside(self, step: int) -> str:
        taken = len(list(self._directory.glob(f"{step}{DAMAGED}*")))
        return (self._directory / str(step)).rename(self._directory / f"{step}{DAMAGED}{taken or ''}").name

    def _place(self, step: int) -> str:
        return f"checkpoint {step} in {self._directory}"

    def _facts(self, step: int) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
        """What was written beside the items; and dtype and shape of every array, by item and path.

        Raises:
          damage.DamagedError: files are missing, cut short or changed.
          damage.UnreadableError: they could not be read.
        """
        folder = self._directory / str(step)

        def read() -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
            with damage.explained(self._place(step)):
                facts = json.loads((folder / "_CHECKPOINT_METADATA").read_bytes())["custom_metadata"]
                for name in facts.get("items", ["model"]):  # older checkpoints do not say
                    json.loads((folder / name / "_METADATA").read_bytes())
                trees = ocp.checkpointables_metadata(folder).metadata
            # Where Orbax could not read an item's metadata it gives None: loading it will say why.
            flat = {name: contents.flatten(tree) for name, tree in trees.items()}
            known = {name: leaves for name, leaves in flat.items() if all(leaf is not None for leaf in leaves.values())}
            found = {name: {path: contents.shape(leaf) for path, leaf in item.items()} for name, item in known.items()}
            if not {"arrays", "digest"} & set(facts):
                return facts, found
            stored = contents.shapes(facts)
            if contents.digest_of(facts) != facts.get("digest") or any(
                found[name] != stored.get(name) for name in found
            ):
                raise damage.DamagedError(f"{self._place(step)} is damaged: its metadata are not as they were written")
            return facts, stored

        return damage.agreed(read)

    def _loaded(self, step: int, facts: dict[str, Any], items: dict[str, Any]) -> dict[str, Any]:
        def load() -> dict[str, Any]:
            with damage.explained(self._place(step)), _alone():
                return ocp.load_checkpointables(self._directory / str(step), items)

        def compare() -> None:
            found = digests.of_arrays(contents.flatten(loaded))
            stored = {f"{name}/{path}": value for name in items for path, (_, value) in facts["arrays"][name].items()}
            wrong = [path for path, value in found.items() if stored[path] != value]
            if wrong:
                raise damage.DamagedError(
                    f"{self._place(step)} is damaged: {len(wrong)} of its {len(found)} arrays are not as they were "
                    f"written, {wrong[0]} among them"
                )

        loaded = damage.agreed(load)
        if verification.wanted() and "arrays" in facts:
            damage.agreed(compare)
        return loaded

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Says in one sentence what the system refuses, and clears away what was half written."""
        try:
            yield
        except Exception as error:
            if self._in_bucket:
                raise UserError(
                    f"{self._directory}: a checkpoint could not be written ({damage.first_line(error)}): look after "
                    "bucket, network and rights, and run the same command again; a training run goes on from the "
                    "newest whole checkpoint"
                ) from error
            number = damage.error_number(error) if isinstance(error, OSError | ValueError | RuntimeError) else None
            # Where one of Orbax's writers fails, it may close the event loop under another, which is heard first.
            if type(error) is RuntimeError and shutil.disk_usage(self._directory).free < LITTLE_SPACE:
                number = errno.ENOSPC
            if number is None:
                raise
            if self._may_write and jax.process_index() == 0:
                for folder in self._directory.glob(HALF_WRITTEN):
                    files.remove(folder)
            no_space = "no space left for a checkpoint: free some"
            other = f"a checkpoint could not be written ({os.strerror(number)}): mend it"
            raise OSError(
                errno.ENOSPC if number in NO_SPACE else number,
                f"{no_space if number in NO_SPACE else other}, and run the same command again; a training run goes on "
                "from the newest whole checkpoint",
                str(self._directory),
            ) from error

    def _check_fit(
        self, facts: dict[str, Any], stored: dict[str, dict[str, str]], items: dict[str, Any], config: dict
    ) -> None:
        differences = contents.differences(facts, stored, items, config)
        if differences:
            raise UserError(
                f"the checkpoint in {self._directory} does not fit this model; use the config it was trained with, or "
                f"another folder: {'; '.join(differences)}"
            )


def _alone() -> ocp.Context:
    """Orbax waits for no other process: one that finds damage would leave the rest waiting."""
    context = ocp.Context()
    context.multiprocessing.primary_host = multihost.process_index()
    context.multiprocessing.active_processes = {multihost.process_index()}
    return context


def _together(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
