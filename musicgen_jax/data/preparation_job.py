"""A preparation as work that any number of processes share, on any engine: parts, then a plan, then shards.

Each step is a function of what the steps before it left on disk, writes whole files or none, and does nothing where it
has been done: so that a step may run anywhere, twice, or again after an interruption.
"""

import array
import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from musicgen_jax.config import UNKNOWN_LABEL
from musicgen_jax.data import kinship, manifest, near_duplicates, output_folder, shard_files
from musicgen_jax.data.spool import Run, Spool
from musicgen_jax.data.track_records import Form, Made
from musicgen_jax.runtime import files

PLAN, ROWS = "plan.json", "rows.jsonl"


class Place(NamedTuple):
    """What decides the split of a track, in few bytes: there may be many."""

    track_id: str
    group: str
    split: str
    labels: dict[str, str]
    duration: float


@dataclasses.dataclass(frozen=True)
class Planned:
    """A shard that can be written.

    Attributes:
      shard: which.
      seconds: of the tracks in it, about.
    """

    shard: shard_files.Shard
    seconds: float


@dataclasses.dataclass(frozen=True)
class PreparationJob:
    """Tracks to a data set.

    Attributes:
      place: where it is being made.
      dataset: its name.
      form: of its records.
      seed: of the split.
      num_parts: in which the tracks are read.
      unique: whether a recording of the same samples as one before it is rejected, and groups are those of `kinship`.
      records_per_shard: of all shards but the last of a split.
    """

    place: output_folder.Place
    dataset: str
    form: Form
    seed: int
    num_parts: int
    unique: bool = False
    records_per_shard: int = dataclasses.field(default_factory=lambda: shard_files.RECORDS_PER_SHARD)

    @property
    def spool(self) -> Spool:
        """Its parts."""
        return Spool(self.place.spool)

    def make_part(self, number: int) -> None:
        """The first step: see `Spool.make`."""
        self.spool.make(self.form, number)

    def make_part_safely(self, number: int) -> None:
        """The same where nobody watches over processes: should a former attempt have ended its own, each track has a
        process by itself."""
        if self.spool.is_first_attempt(number):
            self.make_part(number)
        else:
            self.spool.make_apart(self.form, number)

    def plan(self) -> list[Planned]:
        """The second step, when all parts are made: splits, and which records go into which shard."""
        if not self._in_spool(PLAN).is_file():
            duplicates = self._duplicates() if self.unique else {}
            places = list(self._places(duplicates))
            places, kin = self._grouped(places) if self.unique else (places, "")
            splits, divided = manifest.split_tracks(places, self.seed), manifest.divided_groups(places)
            shards = _Shards(self._in_spool, self.form.sample_rate, self.records_per_shard)
            with files.replaced(self._in_spool(ROWS)) as rows:
                for part, made, offset in self._made():
                    made = _duplicate(made, duplicates.get(made.row.track_id, ""))
                    row = made.row
                    if row.status == "ok":
                        row = dataclasses.replace(row, split=splits[row.track_id])
                        shards.add(row, made.sizes, part, offset)
                    rows.write(manifest.to_line(row))
            planned = [dataclasses.asdict(one) for one in shards.finished()]
            files.write_json(self._in_spool(PLAN), {"shards": planned, "divided_groups": divided, "divided_kin": kin})
        found = files.read_json(self._in_spool(PLAN))["shards"]
        return [Planned(shard_files.Shard(**one["shard"]), one["seconds"]) for one in found]

    def divided_groups(self) -> int:
        """See `manifest.divided_groups`; when there is a plan."""
        return files.read_json(self._in_spool(PLAN))["divided_groups"]

    def divided_kin(self) -> str:
        """What `kinship.groups` had to divide; when there is a plan."""
        return files.read_json(self._in_spool(PLAN))["divided_kin"]

    def write_shard(self, shard: shard_files.Shard) -> None:
        """The third step, when there is a plan: one file of the data set."""
        runs = files.read_json(_runs_path(self._in_spool, shard.split, shard.index))["runs"]
        records = self.spool.records(Run(part, offset, tuple(sizes)) for part, offset, sizes in runs)
        shard_files.write(self.place, self.dataset, shard, records, compressed=not self.form.audible)

    def rows(self, rejected: Iterable[bytes] = ()) -> "Rows":
        """The rows of the manifest, when there is a plan: those of the tracks in their order, then the lines of what
        was rejected before."""
        return Rows(self._in_spool(ROWS), tuple(rejected))

    def _in_spool(self, name: str) -> pathlib.Path:
        return self.place.spool / name

    def _made(self) -> Iterator[tuple[int, Made, int]]:
        """(part, track, offset of its records) of all tracks in order."""
        for part in range(self.num_parts):
            for made, offset in self.spool.rows(part):
                yield part, made, offset

    def _duplicates(self) -> dict[str, str]:
        """Track -> the first one with the same samples, of those that are not the first."""
        first_of: dict[str, str] = {}
        found = {}
        for _, made, _ in self._made():
            if made.row.status == "ok" and made.facts.audio_hash:
                first = first_of.setdefault(made.facts.audio_hash, made.row.track_id)
                if first != made.row.track_id:
                    found[made.row.track_id] = first
        return found

    def _places(self, duplicates: dict[str, str]) -> Iterator[Place]:
        labels = functools.cache(lambda genre: {"genre": genre})
        for _, made, _ in self._made():
            row = made.row
            if row.status == "ok" and row.track_id not in duplicates:
                genre = labels(row.labels.get("genre", UNKNOWN_LABEL))
                yield Place(row.track_id, made.group, row.split, genre, row.duration)

    def _grouped(self, places: list[Place]) -> tuple[list[Place], str]:
        """The same with the groups of their recordings, and what these divide."""
        wanted = {place.track_id for place in places}
        made = (one for _, one, _ in self._made() if one.row.status == "ok" and one.row.track_id in wanted)
        found, divided = kinship.groups([_member(one) for one in made])
        return [place._replace(group=places[first].group) for place, first in zip(places, found, strict=True)], divided


def _member(made: Made) -> kinship.Member:
    facts, folder = made.facts, made.row.path.rpartition("/")[0]
    return kinship.Member(facts.artist, facts.album, folder, near_duplicates.from_text(facts.fingerprint))


class Rows:
    """The rows of a manifest, most of them on disk: read anew each time, one in memory."""

    def __init__(self, path: pathlib.Path, more: tuple[bytes, ...]) -> None:
        self._path, self._more = path, more

    def __iter__(self) -> Iterator[manifest.Row]:
        return (manifest.of_line(line, f"{self._path}") for line in self._lines())

    def _lines(self) -> Iterator[bytes]:
        with open(self._path, "rb") as file:
            yield from file
        yield from self._more

    def sorted_lines(self) -> Iterator[bytes]:
        """Their lines by path and track."""
        keys, offsets, offset = [], array.array("Q"), 0
        for number, line in enumerate(self._lines()):
            row = json.loads(line)
            keys.append((row["path"], row["track_id"], number))
            offsets.append(offset)
            offset += len(line)
        keys.sort()
        on_disk = len(offsets) - len(self._more)
        with open(self._path, "rb") as file:
            for _, _, number in keys:
                if number < on_disk:
                    file.seek(offsets[number])
                    yield file.readline()
                else:
                    yield self._more[number - on_disk]


class _Shards:
    """Deals out the records of tracks, in order, to the shards of their splits; the runs of each go to disk."""

    def __init__(self, in_spool: Callable[[str], pathlib.Path], sample_rate: int, size: int) -> None:
        self._in_spool, self._sample_rate, self._size = in_spool, sample_rate, size
        self._runs: dict[str, list[Run]] = {split: [] for split in manifest.SPLITS}
        self._waiting = dict.fromkeys(manifest.SPLITS, 0)  # records of the shard that fills up
        self._seconds = dict.fromkeys(manifest.SPLITS, 0.0)
        self._done: dict[str, list[Planned]] = {split: [] for split in manifest.SPLITS}

    def add(self, row: manifest.Row, sizes: tuple[int, ...], part: int, offset: int) -> None:
        """Takes in a track with its split, whose records have these sizes and lie in a part from `offset` on."""
        split = row.split
        seconds = row.num_samples / self._sample_rate / max(len(sizes), 1)
        while sizes:
            room = self._size - self._waiting[split]
            taken, sizes = sizes[:room], sizes[room:]
            self._runs[split].append(Run(part, offset, taken))
            self._waiting[split] += len(taken)
            self._seconds[split] += seconds * len(taken)
            offset += sum(taken)
            if self._waiting[split] == self._size:
                self._close(split)

    def finished(self) -> list[Planned]:
        """All shards, split by split."""
        for split, number in self._waiting.items():
            if number:
                self._close(split)
        return [one for split in manifest.SPLITS for one in self._done[split]]

    def _close(self, split: str) -> None:
        index, number = len(self._done[split]), self._waiting[split]
        first = index * self._size
        path = _runs_path(self._in_spool, split, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps({"runs": self._runs[split]}))
        shard = shard_files.Shard(split, index, first, first + number)
        self._done[split].append(Planned(shard, self._seconds[split]))
        self._runs[split], self._waiting[split], self._seconds[split] = [], 0, 0.0


def _runs_path(in_spool: Callable[[str], Any], split: str, index: int) -> pathlib.Path:
    return in_spool("runs") / split / f"{index:07d}.json"


def _duplicate(made: Made, first: str) -> Made:
    """A track as it is, or, where one before it has the same samples, rejected."""
    if not first:
        return made
    row = made.row
    about = (row.path, "", row.hash, row.duration, row.sample_rate, row.channels)
    rejected = manifest.Row(*about, status="rejected", reason=f"exact duplicate of: {first}")
    return dataclasses.replace(made, row=rejected, sizes=())
