"""A folder that a command fills: one writer at a time, complete or as if never begun, wherever it lies.

All is written inside the folder itself, which may be a link, a mount point, or the only place where this user may
write: nothing beside it is touched, and it is never renamed. What is being written lies in a hidden subfolder. When it
is whole the subfolder is renamed, and from then on nothing can be lost: its entries move up, dataset_info.json last,
and a run that finds the move interrupted finishes it.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from musicgen_jax.runtime import files, folder_lock
from musicgen_jax.runtime.errors import UserError

PARTIAL, WHOLE = files.OURS + "partial_dataset", files.OURS + "whole_dataset"
LAST = "dataset_info.json"  # without it no reader takes the folder for a dataset


@contextlib.contextmanager
def claim(directory: str | os.PathLike[str], purpose: str) -> Iterator[pathlib.Path]:
    """Makes sure, before the work, that this process and no other can write to `directory`.

    Finishes the move of a former run. A folder that was made here and is still empty at the end goes again.

    Args:
      directory: need not exist.
      purpose: as for `folder_lock.hold`.

    Yields:
      The directory, with all links resolved.

    Raises:
      UserError: it is a file, another process writes there, or a former run's move still cannot be finished.
      OSError: the system does not let this user write there.
    """
    folder = pathlib.Path(os.path.realpath(directory))
    made = not folder.exists()
    if not folder.is_dir():
        files.output_folder(folder)  # refuses a file
    try:
        with folder_lock.hold(folder, purpose):
            if (folder / WHOLE).is_dir():
                _move_up(folder)
            yield folder
    finally:
        if made:
            _remove_if_empty(folder)


@contextlib.contextmanager
def fill(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the hidden subfolder in which to write; its entries are in `folder` at the end, or gone after an error.

    Raises:
      UserError: `folder` holds something; or all is written but cannot be moved up, and stays where the message says.
    """
    files.output_folder(folder)
    made, partial = not folder.exists(), folder / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed
    partial.mkdir(parents=True)
    try:
        with files.blamed_on(folder):
            yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if made:
            _remove_if_empty(folder)
        raise
    os.rename(partial, folder / WHOLE)  # should the system refuse, its message says where the work is
    _move_up(folder)


def _move_up(folder: pathlib.Path) -> None:
    whole = folder / WHOLE
    try:
        for name in sorted(os.listdir(whole), key=lambda name: (name == LAST, name)):
            os.rename(whole / name, folder / name)
        whole.rmdir()
    except OSError as error:
        raise UserError(
            f"the dataset is complete in {whole}, but its files cannot be moved up ({error.strerror}): mend that and "
            "run the same command again, which only moves them"
        ) from error


def _remove_if_empty(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
