"""Data sets of any records, for tests that need odd ones: written as the package writes all of them."""

import contextlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from musicgen_jax.data import output_folder, shard_files
from musicgen_jax.runtime import files


class ShardWriter:
    """A context manager that takes records one by one and writes them when it ends; nothing after an exception.

    Attributes:
      path: hidden subfolder in which to put other files of the data set; at the end all moves up.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        name: str,
        features: tfds.features.FeaturesDict,
        splits: Sequence[str],
        metadata: Mapping[str, Any],
    ) -> None:
        self._directory, self._name = pathlib.Path(os.path.realpath(directory)), name
        self._features, self._metadata = features, metadata
        self._serialize = shard_files.serializer(features)
        self._records: dict[str, list[bytes]] = {split: [] for split in splits}
        self._folder = contextlib.ExitStack()
        files.output_folder(self._directory)  # refuses one that holds something

    def __enter__(self) -> "ShardWriter":
        self._place = self._folder.enter_context(output_folder.fill(self._directory))
        self.path = self._place.partial
        return self

    def write(self, split: str, record: Mapping[str, Any]) -> None:
        self._records[split].append(self._serialize(record))

    def __exit__(self, error_type: Any, error: BaseException | None, traceback: Any) -> None:
        if error is not None:
            self._folder.__exit__(error_type, error, traceback)
            return
        with self._folder:
            shards = shard_files.plan({split: len(records) for split, records in self._records.items()})
            for shard in shards:
                found = self._records[shard.split][shard.first : shard.stop]
                shard_files.write(self._place, self._name, shard, found)
            shard_files.describe(self._place, self._name, self._features, self._metadata, shards)
