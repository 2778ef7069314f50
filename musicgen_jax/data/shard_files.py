"""The files that a data set consists of, each written by itself by whichever process comes to it.

Which records a file holds follows from the number of records of its split alone, so that files can be written in any
order, by any number of processes, and those that are there already need not be written again.
"""

import contextlib
import dataclasses
import os
import pathlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import example_serializer, file_adapters, naming

from musicgen_jax.data import catalog, output_folder
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import SYSTEM_ERRORS, UserError

VERSION = "1.0.0"
RECORDS_PER_SHARD = 512
ARRAY_RECORD = file_adapters.FileFormat.ARRAY_RECORD
NAMES = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"
SIZES = "sizes"  # folder of the spool: how many bytes the records of each file have that is whole


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file: records `first` to `stop` of its split, in the order of the split."""

    split: str
    index: int
    first: int
    stop: int


def plan(num_records: Mapping[str, int]) -> list[Shard]:
    """The files of a data set with so many records a split."""
    return [
        Shard(split, index, first, min(first + RECORDS_PER_SHARD, number))
        for split, number in num_records.items()
        for index, first in enumerate(range(0, number, RECORDS_PER_SHARD))
    ]


class _OrderedSerializer(example_serializer.ExampleSerializer):
    """Protocol buffers write maps in an order that differs from process to process; the same data, the same bytes."""

    def serialize_example(self, example: Any) -> bytes:
        return self.get_tf_example(example).SerializeToString(deterministic=True)


def serializer(features: tfds.features.FeaturesDict) -> Callable[[Mapping[str, Any]], bytes]:
    """What turns a record with these features into the bytes of it that a file holds.

    It raises UserError where a record lacks a feature or has one too many.
    """
    serialize = _OrderedSerializer(features.get_serialized_info()).serialize_example

    def serialized(record: Mapping[str, Any]) -> bytes:
        if set(record) != set(features):
            raise UserError(f"a record has {sorted(record)}; it must have exactly {sorted(features)}")
        return serialize(features.encode_example(record))

    return serialized


def write(
    place: output_folder.Place, dataset: str, shard: Shard, records: Iterable[bytes], compressed: bool = True
) -> None:
    """Writes a file of the data set, whole or not at all; nothing where `is_written`.

    Args:
      place: where the data set is being made.
      dataset: its name.
      shard: which file.
      records: those of the shard, serialized.
      compressed: whether by zstd. Audio gets a tenth smaller, and takes four times as long to read.
    """
    if is_written(place, dataset, shard):
        return
    name = file_name(dataset, shard)
    aside, size = place.spool / f"{name}.{uuid.uuid4().hex}", place.spool / SIZES / name
    size.parent.mkdir(exist_ok=True)
    with _system_errors(place.folder):
        num_bytes = write_records(aside, records, compressed)
        files.sync(aside)
        os.replace(aside, place.partial / name)
    files.write_text(size, str(num_bytes))


def write_records(path: pathlib.Path, records: Iterable[bytes], compressed: bool = True) -> int:
    """Writes a file of records and returns how many bytes these have together; after an exception there is no file."""
    options = "group_size:1,zstd" if compressed else "group_size:1,uncompressed"
    writer, num_bytes = array_record_module.ArrayRecordWriter(os.fspath(path), options), 0
    try:
        for record in records:
            writer.write(record)
            num_bytes += len(record)
        writer.close()
    except BaseException:
        with contextlib.suppress(Exception):  # what it could not write goes anyway
            writer.close()
        path.unlink(missing_ok=True)
        raise
    return num_bytes


def is_written(place: output_folder.Place, dataset: str, shard: Shard) -> bool:
    """Whether the file is whole."""
    return (place.spool / SIZES / file_name(dataset, shard)).is_file()


def file_name(dataset: str, shard: Shard) -> str:
    """The name of the file."""
    return _template(dataset, shard.split).sharded_filepath(shard_index=shard.index, num_shards=None).name


def _template(dataset: str, split: str, folder: str = "") -> naming.ShardedFileTemplate:
    return naming.ShardedFileTemplate(
        dataset_name=dataset, data_dir=folder, split=split, filetype_suffix=ARRAY_RECORD.file_suffix, template=NAMES
    )


def describe(
    place: output_folder.Place,
    dataset: str,
    features: tfds.features.FeaturesDict,
    metadata: Mapping[str, Any],
    shards: Iterable[Shard],
) -> None:
    """Writes what makes of the files a data set: its description as TFDS reads it.

    Args:
      place: where the data set is being made.
      dataset: its name.
      features: of a record.
      metadata: JSON-serializable facts about the whole, for `shards.read_metadata`.
      shards: all files, which are written.

    Raises:
      EmptyError: there is no record.
    """
    by_split: dict[str, list[Shard]] = {}
    for shard in shards:
        by_split.setdefault(shard.split, []).append(shard)
    if not by_split:
        raise output_folder.EmptyError(f"no record was written for {place.folder}; a dataset needs at least one")
    partial = os.fspath(place.partial)
    identity = tfds.core.DatasetIdentity(name=dataset, version=VERSION, data_dir=partial, module_name="musicgen_jax")
    known = catalog.facts(features, metadata) | {"metadata": tfds.core.MetadataDict(dict(metadata))}
    info = tfds.core.DatasetInfo(builder=identity, features=features, **known)
    info.set_file_format(ARRAY_RECORD, override=False)
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[shard.stop - shard.first for shard in of_split],
            num_bytes=sum(_num_bytes(place, dataset, shard) for shard in of_split),
            filename_template=_template(dataset, split, partial),
        )
        for split, of_split in by_split.items()
    ]
    info.set_splits(tfds.core.SplitDict(splits))
    with files.blamed_on(place.folder):
        info.write_to_directory(partial)
        catalog.write(partial)


def _num_bytes(place: output_folder.Place, dataset: str, shard: Shard) -> int:
    return int(files.read_text(place.spool / SIZES / file_name(dataset, shard)))


@contextlib.contextmanager
def _system_errors(directory: pathlib.Path) -> Iterator[None]:
    """Turns what ArrayRecord says of a full disk and the like, a RuntimeError, into the OSError that it is."""
    try:
        with files.blamed_on(directory):
            yield
    except RuntimeError as error:
        for number in SYSTEM_ERRORS:
            if os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number), os.fspath(directory)) from error
        raise
