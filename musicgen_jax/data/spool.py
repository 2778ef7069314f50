"""What lies between the reading of tracks and the writing of shards: parts on disk, each of some tracks.

A part is a file of records, one behind the other, and a file of rows, one a track, which comes last and shows that the
part is whole. Any process may make any part; one that was interrupted is made anew.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import pickle
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from musicgen_jax.data import track_records, workers
from musicgen_jax.data.track import Track
from musicgen_jax.data.track_records import Form, Made
from musicgen_jax.runtime import files

VERSION = 4  # of what lies here: a run of another one starts anew
MAX_TRACKS, MAX_BYTES, MAX_SECONDS = 64, 1 << 24, 300.0  # of a part: no more than goes by while one waits
PER_FOLDER = 1000  # parts
START_SECONDS = 300.0  # for a process to compile what renders a score, on a machine that has other things to do


class Batch(NamedTuple):
    """The tracks of a part, before they are read.

    Attributes:
      number: of the part.
      amount: bytes of its files, or else seconds of its tracks: what a progress bar counts.
      seconds: within which it must be made: a process begins, and each track takes what the slowest machine needs.
    """

    number: int
    amount: float
    seconds: float


class Run(NamedTuple):
    """Records that stand behind each other in a part: `sizes` bytes each, from `offset` on."""

    part: int
    offset: int
    sizes: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Spool:
    """The parts of a data set that is being prepared, in a folder that all processes see."""

    folder: pathlib.Path

    def put_tracks(self, tracks: Iterable[Track]) -> list[Batch]:
        """Writes down which tracks each part is of, and returns what there is to do."""
        batches, waiting = [], []
        amount = seconds = 0.0
        for item in tracks:
            size, duration = weight(item)
            full = len(waiting) == MAX_TRACKS or amount + size > MAX_BYTES or seconds + duration > MAX_SECONDS
            if waiting and full:
                batches.append(self._put(len(batches), waiting, amount, seconds))
                waiting, amount, seconds = [], 0.0, 0.0
            waiting.append(item)
            amount, seconds = amount + size, seconds + duration
        return [*batches, self._put(len(batches), waiting, amount, seconds)] if waiting else batches

    def _put(self, number: int, tracks: list[Track], amount: float, seconds: float) -> Batch:
        path = self._path(number, "tracks")
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replaced(path) as file:
            pickle.dump(tracks, file)
        return Batch(number, amount or seconds, START_SECONDS + sum(map(_own_patience, tracks)))

    def tracks(self, number: int) -> list[Track]:
        """The tracks of a part; what `put_tracks` has pickled, and nothing else."""
        return pickle.loads(self._path(number, "tracks").read_bytes())

    def is_made(self, number: int) -> bool:
        """Whether the part is whole."""
        return self._path(number, "rows").is_file()

    def make(self, form: Form, number: int) -> None:
        """Reads the tracks of a part and writes it; nothing where it is whole already."""
        if not self.is_made(number):
            with self._writing(number) as (of_records, of_rows):
                for item in self.tracks(number):
                    _write_row(of_rows, track_records.make(form, item, of_records.write, os.fspath(self.folder)))

    def make_apart(self, form: Form, number: int, num_workers: int = 1) -> None:
        """As `make`, each track in a process of its own: one that ends or hangs its process is rejected alone."""
        tracks = self.tracks(number)
        if self.is_made(number):
            return
        parent = self._path(number, "rows").parent
        # A name of its own: engines make a part twice at a time where they take an attempt for a slow one.
        with (
            tempfile.TemporaryDirectory(dir=parent, prefix=f".{number:07d}.") as apart,
            self._writing(number) as writing,
        ):
            of_records, of_rows = writing
            one = functools.partial(_make_one, form, apart, os.fspath(self.folder))
            outcomes = workers.ordered_map(one, list(enumerate(tracks)), num_workers, lambda pair: patience(pair[1]))
            for place, (item, outcome) in enumerate(zip(tracks, outcomes, strict=True)):
                if isinstance(outcome, workers.Lost):
                    outcome = track_records.lost(item, outcome.reason)
                else:
                    of_records.write(_records_of(apart, place).read_bytes())
                _write_row(of_rows, outcome)

    def is_first_attempt(self, number: int) -> bool:
        """Whether nobody has begun to make the part before, which is remembered from now on."""
        path = self._path(number, "begun")
        with contextlib.suppress(FileExistsError):
            path.touch(exist_ok=False)
            return True
        return False

    def rows(self, number: int) -> Iterator[tuple[Made, int]]:
        """The tracks of a part that is whole, each with the offset of its records."""
        offset = 0
        with open(self._path(number, "rows"), "rb") as file, contextlib.suppress(EOFError):
            while True:
                made = pickle.load(file)  # what `_write_row` has pickled, and nothing else
                yield made, offset
                offset += sum(made.sizes)

    def records(self, runs: Iterable[Run]) -> Iterator[bytes]:
        """The records of some runs, in order."""
        for run in runs:
            with open(self._path(run.part, "records"), "rb") as file:
                file.seek(run.offset)
                for size in run.sizes:
                    yield file.read(size)

    def _path(self, number: int, kind: str) -> pathlib.Path:
        return self.folder / "parts" / f"{number // PER_FOLDER:04d}" / f"{number:07d}.{kind}"

    @contextlib.contextmanager
    def _writing(self, number: int) -> Iterator[tuple[BinaryIO, BinaryIO]]:
        """The two files of a part; where another attempt has made it whole meanwhile, that one stays: shards may have
        been planned by it."""
        with (
            contextlib.suppress(_AlreadyMadeError),
            files.replaced(self._path(number, "rows")) as of_rows,
            files.replaced(self._path(number, "records")) as of_records,
        ):
            yield of_records, of_rows
            if self.is_made(number):
                raise _AlreadyMadeError


class _AlreadyMadeError(Exception):
    """A part has become whole while it was being made once more."""


def _make_one(form: Form, folder: str, scratch: str, numbered: tuple[int, Track]) -> Made:
    place, item = numbered
    with open(_records_of(folder, place), "wb") as file:
        return track_records.make(form, item, file.write, scratch)


def _records_of(folder: str, place: int) -> pathlib.Path:
    return pathlib.Path(folder) / f"{place}.records"


def _write_row(file: BinaryIO, made: Made) -> None:
    pickle.dump(made, file)


def weight(item: Track) -> tuple[int, float]:
    """What limits the tracks of a part: (bytes of a track's file, 0 where it is of none or cannot be looked at; its
    seconds where it is of none)."""
    if not item.file:
        return 0, item.duration
    try:
        return os.stat(item.file).st_size, 0.0
    except OSError:
        return 0, 0.0


def patience(item: Track) -> float:
    """Seconds within which a process must have read a track, its first one."""
    return START_SECONDS + _own_patience(item)


def _own_patience(item: Track) -> float:
    """Seconds within which a track must be read, for which the slowest machine needs a fifth of its duration, and
    transcribed, for which it needs as long as it is; decoders take some megabytes a second."""
    size, duration = weight(item)
    return 1.2 * duration + size / 5e4
