"""The model that a run began from: known by a digest of its weights, and found by it wherever it lies."""

import contextlib
import itertools
import pathlib
from collections.abc import Iterator

from absl import flags

from musicgen_jax import config
from musicgen_jax.runtime import console
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.training import checkpointing

FLAG = "base"  # of commands that load adapters
MAX_LOOKED_AT = 200  # folders beside others


def of_workdir(workdir: pathlib.Path) -> tuple[int, str]:
    """(step, fingerprint) of the newest checkpoint of a trained model.

    Raises:
      NotFoundError: no such workdir, or no complete checkpoint in it.
      UserError: the checkpoint is older than digests of weights.
    """
    found = next(iter(_checkpoints(workdir)), None)
    if found is None:
        raise NotFoundError(f"{workdir} holds no complete checkpoint: train first, or pass another folder")
    step, fingerprint = found
    rule = "train it on for a step, which writes one that has"
    config.require(bool(fingerprint), f"{workdir}: checkpoint {step} has no digests of its weights: {rule}")
    return step, fingerprint


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether a folder has a checkpoint.

    Raises:
      damage.DamagedError: what it had was set aside.
    """
    with contextlib.suppress(NotFoundError), checkpointing.Checkpointer(workdir) as checkpointer:
        return checkpointer.latest_step() is not None
    return False


def holds(workdir: pathlib.Path, fingerprint: str) -> bool:
    """Whether a folder has a checkpoint of these weights that can be read."""
    return any(found == fingerprint for _, found in _readable(workdir))


def find(init: config.InitConfig, workdir: pathlib.Path, named: str = "") -> tuple[pathlib.Path, int]:
    """(workdir, step) of the model that the run in `workdir` began from.

    Looked for where the flag --base or `named` says, where it was, and beside both runs: by its fingerprint, so that
    folders may have been moved and renamed together or apart.

    Raises:
      NotFoundError: it is in none of these places.
    """
    given = named or (flags.FLAGS[FLAG].value if FLAG in flags.FLAGS and flags.FLAGS.is_parsed() else "")
    there = [pathlib.Path(given)] if given else []
    was = pathlib.Path(init.path)
    beside = [*there, was.parent, workdir.absolute().parent]
    folders = itertools.chain([*there, was], *(_subfolders(folder) for folder in beside))
    for folder in dict.fromkeys(folders):
        for step, fingerprint in _readable(folder):
            if fingerprint == init.fingerprint:
                if folder != was:
                    console.say(f"note: the model that {workdir} began from is now {folder}")
                return folder, step
    raise NotFoundError(
        f"{workdir} holds adapters of the model {init.fingerprint}, which was {init.path} and is not there, nor beside "
        f"one of the two: put it (or a link to it) beside {workdir}, or name its workdir with --base=DIR"
    )


def _subfolders(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    with contextlib.suppress(OSError):
        yield from itertools.islice(sorted(path.parent for path in folder.glob("*/config.json")), MAX_LOOKED_AT)


def _readable(folder: pathlib.Path) -> list[tuple[int, str]]:
    """`_checkpoints`; none where there are none that can be read: what else lies there is no reason to end."""
    with contextlib.suppress(UserError, OSError):
        return _checkpoints(folder)
    return []


def _checkpoints(workdir: pathlib.Path) -> list[tuple[int, str]]:
    with checkpointing.Checkpointer(workdir) as checkpointer:
        return checkpointer.fingerprints()
