"""Batches for training and validation: what Grain reads on every host -> arrays divided over all devices.

The data position is the step: the batch of a step depends on the step, the seed and the data, and on nothing else.
"""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import grain
import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.sharding import meshes

HostBatch = dict[str, np.ndarray]
Batch = dict[str, jax.Array]


def training_dataset(
    source: Any, crop: grain.transforms.RandomMap, data: config.DataConfig, process_index: int, process_count: int
) -> grain.MapDataset:
    """Endless dataset of this host's part of every global batch.

    It stays a `MapDataset` up to and including the batch, so element n is the same whatever the number of workers. A
    host reads its share of consecutive rows: the hosts in order make up the very batch that one alone would read.

    Args:
      source: random-access source of what `crop` takes.
      crop: random transform; draws anew in each epoch, alike for equal seeds.
      data: batch size and seed.
      process_index: this host.
      process_count: all hosts; must divide the batch size.
    """
    dataset = grain.MapDataset.source(source).seed(data.seed).shuffle().repeat().random_map(crop)
    # All but a part of a batch at the end of what repeats "for ever".
    dataset = dataset[: len(dataset) // data.batch_size * data.batch_size]
    rows = data.batch_size // process_count
    first = process_index * rows
    columns = [dataset[row :: data.batch_size] for row in range(first, first + rows)]
    return grain.experimental.ZipMapDataset(columns).map(_stack)


def _stack(rows: tuple[HostBatch, ...]) -> HostBatch:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def training_batches(
    source: Any, crop: grain.transforms.RandomMap, data: config.DataConfig, mesh: jax.sharding.Mesh
) -> Callable[[int], Iterator[Batch]]:
    """`batches_from(step)`: iterator over global batches, from batch number `step` on.

    Raises:
      UserError: the batch size does not divide over the mesh or the processes.
    """
    meshes.check_batch_size(data.batch_size, mesh)
    dataset = training_dataset(source, crop, data, jax.process_index(), jax.process_count())

    def batches_from(step: int) -> Iterator[Batch]:
        rest = dataset[step:]
        iterable = rest.to_iter_dataset(grain.ReadOptions(num_threads=4, prefetch_buffer_size=16))
        if data.num_workers:
            workers = grain.MultiprocessingOptions(num_workers=data.num_workers)
            iterable = iterable.mp_prefetch(workers, worker_init_fn=_leave_ctrl_c)
        for host_batch in iterable:
            yield to_device(host_batch, mesh)

    return batches_from


def _leave_ctrl_c(worker: int, count: int) -> None:
    """A terminal sends it to all processes; the one that trains still wants its batches while it saves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def fixed_batches(examples: list[HostBatch], batch_size: int, mesh: jax.sharding.Mesh) -> Iterator[Batch]:
    """Global batches of the given examples in order, each of them once.

    Where examples say what of them exists (`mask`), the last batch is filled with some of which nothing does. Others
    make a smaller last batch; should it not divide over the devices, it leaves the rest of them out, and where there
    are fewer than devices, repeats them.

    Every host must hold the same examples; each puts its own rows on its devices.
    """
    ways = meshes.batch_ways(mesh)
    for start in range(0, len(examples), batch_size):
        batch = examples[start : start + batch_size]
        missing = batch_size - len(batch)
        if missing and "mask" in batch[0]:
            batch += [batch[0] | {"mask": np.zeros_like(batch[0]["mask"])}] * missing
        elif missing and len(batch) >= ways:
            batch = batch[: len(batch) // ways * ways]
        elif missing and start:
            return
        elif missing:
            batch = [batch[i % len(batch)] for i in range(ways)]
        rows = len(batch) // jax.process_count()
        batch = batch[rows * jax.process_index() :][:rows]
        yield to_device({name: np.stack([example[name] for example in batch]) for name in batch[0]}, mesh)


def to_device(host_batch: HostBatch, mesh: jax.sharding.Mesh) -> Batch:
    """This host's rows -> global arrays divided over the mesh's batch axes."""
    sharding = meshes.batch_sharding(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in host_batch.items()}


def evenly_spaced(num_items: int, count: int) -> list[int]:
    """`count` indices (or all, if there are fewer) spread over range(num_items): what a validation pass looks at."""
    count = min(count, num_items)
    return [int(index) for index in np.linspace(0, num_items, count, endpoint=False)]
