"""A folder that a command fills: one writer at a time, complete or as if never begun, wherever it lies.

All is written inside the folder itself, which may be a link, a mount point, or the only place where this user may
write: nothing beside it is touched, and it is never renamed. What is being written lies in a hidden subfolder. When it
is whole the subfolder is renamed, and from then on nothing can be lost: its entries move up, dataset_info.json last,
and a run that finds the move interrupted finishes it. What the work needs meanwhile lies in a second hidden subfolder,
the spool. A run that was stopped or failed leaves both, and the next one with the same job goes on from there.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterator

from musicgen_jax.runtime import console, files, folder_lock
from musicgen_jax.runtime.errors import UserError

PARTIAL, WHOLE, SPOOL = (files.OURS + name for name in ("partial_dataset", "whole_dataset", "spool"))
JOB = "job"  # file of the spool: what the two subfolders are of
LAST = "dataset_info.json"  # without it no reader takes the folder for a dataset


class EmptyError(UserError):
    """There is nothing to write, and a run that goes on from here would find the same."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a data set is being made: in hidden subfolders of `folder`, for whichever process takes part.

    Attributes:
      folder: where it is to be.
      partial: subfolder of what it will consist of.
      spool: subfolder of what goes when it is whole.
    """

    folder: pathlib.Path

    @property
    def partial(self) -> pathlib.Path:
        return self.folder / PARTIAL

    @property
    def spool(self) -> pathlib.Path:
        return self.folder / SPOOL

    def is_of(self, job: str) -> bool:
        """Whether both subfolders are there, of that job."""
        path = self.spool / JOB
        return self.partial.is_dir() and path.is_file() and files.read_text(path) == job

    def remove(self) -> None:
        """Removes both."""
        shutil.rmtree(self.spool, ignore_errors=True)
        shutil.rmtree(self.partial, ignore_errors=True)


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
def fill(folder: pathlib.Path, job: str = "") -> Iterator[Place]:
    """Yields where to write; what is in the place's `partial` is in `folder` at the end.

    Where the run ends before, by Ctrl-C, a signal or an error such as a full disk, what it has done stays, hidden, for
    the next one of the same job. Without a job, or after an `EmptyError`, it goes.

    Args:
      folder: the data set's.
      job: a text that is equal for runs whose every file is equal; "" where what a stopped run has done is of no use.

    Raises:
      UserError: `folder` holds something; or all is written but cannot be moved up, and stays where the message says.
    """
    files.output_folder(folder)
    made, place = not folder.exists(), Place(folder)
    if not job or not place.is_of(job):
        place.remove()  # left by a run of another job
        with files.blamed_on(folder):
            place.partial.mkdir(parents=True)
            place.spool.mkdir()
            files.write_text(place.spool / JOB, job)
    for torn in place.partial.glob(".*"):  # by a run that was killed as it wrote them
        torn.unlink()
    try:
        with files.blamed_on(folder):
            yield place
    except BaseException as error:
        if job and not isinstance(error, EmptyError):
            console.say(f"stopped: what is done stays hidden in {folder}, and the same command goes on from there")
            raise
        place.remove()
        if made:
            _remove_if_empty(folder)
        raise
    os.rename(place.partial, folder / WHOLE)  # should the system refuse, its message says where the work is
    _move_up(folder)


def _move_up(folder: pathlib.Path) -> None:
    whole = folder / WHOLE
    try:
        for name in sorted(os.listdir(whole), key=lambda name: (name == LAST, name)):
            os.rename(whole / name, folder / name)
        whole.rmdir()
        shutil.rmtree(folder / SPOOL, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"the dataset is complete in {whole}, but its files cannot be moved up ({error.strerror}): mend that and "
            "run the same command again, which only moves them"
        ) from error


def _remove_if_empty(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
