"""Batches as a function of the step: the same for any resumption, number of workers, hosts and devices."""

import itertools

import grain
import jax
import numpy as np
import pytest
from absl import flags

from musicgen_jax import config
from musicgen_jax.data import audio_dataset, loader
from musicgen_jax.sharding import meshes

CLIP = 2048
EPOCH = 10  # records of the train split


def one_device() -> jax.sharding.Mesh:
    return meshes.make_mesh(config.MeshConfig(data=1), jax.devices()[:1])


def settings(directory: str, **changes: int) -> config.DataConfig:
    return config.DataConfig(**{"path": directory, "batch_size": 4, "seed": 3} | changes)


def first_batches(directory: str, count: int, step: int = 0, **changes: int) -> np.ndarray:
    """Audio of `count` batches from batch number `step` on: [count, B, CLIP]."""
    batches_from = audio_dataset.training_batches(directory, CLIP, settings(directory, **changes), one_device())
    return np.stack([np.asarray(batch["audio"]) for batch in itertools.islice(batches_from(step), count)])


def test_starting_at_a_step_equals_skipping(tiny_audio_dataset):
    all_batches = first_batches(tiny_audio_dataset, 9)
    assert all_batches.dtype == np.float32 and all_batches.shape == (9, 4, CLIP)
    for step in (1, 6):
        np.testing.assert_array_equal(first_batches(tiny_audio_dataset, 3, step), all_batches[step : step + 3])


def test_a_late_step_is_reached_at_once(tiny_audio_dataset):
    assert first_batches(tiny_audio_dataset, 1, step=10**7).shape == (1, 4, CLIP)


@pytest.fixture
def parsed_flags():
    """Grain's worker processes read absl flags, which an entry point has parsed by then."""
    flags.FLAGS.mark_as_parsed()
    yield
    flags.FLAGS.unparse_flags()


@pytest.mark.long
def test_workers_change_nothing(tiny_audio_dataset, parsed_flags):
    want = first_batches(tiny_audio_dataset, 5, step=2)
    np.testing.assert_array_equal(first_batches(tiny_audio_dataset, 5, step=2, num_workers=2), want)


def test_hosts_together_read_what_one_reads(tiny_audio_dataset):
    parts = (*audio_dataset.random_clips(tiny_audio_dataset, "train", CLIP), settings(tiny_audio_dataset))
    one = loader.training_dataset(*parts, 0, 1)
    hosts = [loader.training_dataset(*parts, index, 2) for index in range(2)]
    for step in range(4):
        rows = [host[step]["audio"] for host in hosts]
        assert [len(part) for part in rows] == [2, 2]
        np.testing.assert_array_equal(np.concatenate(rows), one[step]["audio"])  # the order as well
        assert len({row.tobytes() for row in one[step]["audio"]}) == 4


class Draw(grain.transforms.RandomMap):
    """Index -> the index and a random number."""

    def random_map(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"index": np.int64(index), "draw": rng.integers(2**62)}


def test_every_epoch_has_every_example_in_its_own_order_with_its_own_draws():
    dataset = loader.training_dataset(range(12), Draw(), config.DataConfig(batch_size=4, seed=1), 0, 1)
    epochs = [[dataset[3 * epoch + i] for i in range(3)] for epoch in range(3)]
    orders = [np.concatenate([batch["index"] for batch in epoch]) for epoch in epochs]
    draws = [np.concatenate([batch["draw"] for batch in epoch]) for epoch in epochs]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(12))
    assert not np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[1], orders[2])
    assert len(np.unique(draws)) == 36, "a draw was repeated"
    again = loader.training_dataset(range(12), Draw(), config.DataConfig(batch_size=4, seed=1), 0, 1)
    other = loader.training_dataset(range(12), Draw(), config.DataConfig(batch_size=4, seed=2), 0, 1)
    np.testing.assert_array_equal(again[5]["draw"], dataset[5]["draw"])
    assert not np.array_equal(other[5]["draw"], dataset[5]["draw"])


def test_crops_differ_by_epoch_and_repeat_for_a_seed(tiny_audio_dataset):
    batches = first_batches(tiny_audio_dataset, EPOCH // 2 * 2, batch_size=2)
    clips = {clip.tobytes() for clip in batches.reshape(-1, CLIP)}
    assert len(clips) > 1.5 * EPOCH, "the second epoch has the clips of the first"
    np.testing.assert_array_equal(first_batches(tiny_audio_dataset, EPOCH, batch_size=2), batches)
    assert not np.array_equal(first_batches(tiny_audio_dataset, EPOCH, batch_size=2, seed=4), batches)


def test_fixed_batches_count_each_example_once():
    """A last batch is smaller, or filled with what does not exist."""
    examples = [{"x": np.full(2, i, np.int32)} for i in range(5)]
    batches = [np.asarray(batch["x"])[:, 0].tolist() for batch in loader.fixed_batches(examples, 4, one_device())]
    assert batches == [[0, 1, 2, 3], [4]]
    masked = [example | {"mask": np.array([True, i < 3])} for i, example in enumerate(examples)]
    batches = list(loader.fixed_batches(masked, 4, one_device()))
    assert [np.asarray(batch["mask"]).sum(axis=1).tolist() for batch in batches] == [[2, 2, 2, 1], [1, 0, 0, 0]]
    assert [np.asarray(batch["x"])[0, 0] for batch in batches] == [0, 4]
    assert list(loader.fixed_batches([], 4, one_device())) == []
    mesh = meshes.make_mesh(config.MeshConfig(data=4), jax.devices()[:4])
    for count, expected in ((15, [8, 4]), (10, [8]), (6, [4]), (3, [4])):
        batches = list(loader.fixed_batches(examples[:1] * count, 8, mesh))
        assert [len(batch["x"]) for batch in batches] == expected


def test_batches_lie_on_the_devices_of_the_mesh():
    mesh = meshes.make_mesh(config.MeshConfig(data=2, fsdp=2, tensor=2), jax.devices()[:8])
    batch = loader.to_device({"x": np.arange(8).reshape(8, 1)}, mesh)["x"]
    assert {shard.data.shape for shard in batch.addressable_shards} == {(2, 1)}
    assert len(batch.addressable_shards) == 8
    np.testing.assert_array_equal(batch[:, 0], np.arange(8))


def test_a_batch_that_does_not_divide_is_an_error(tiny_audio_dataset):
    mesh = meshes.make_mesh(config.MeshConfig(data=8), jax.devices()[:8])
    with pytest.raises(ValueError, match=r"data\.batch_size=4 must be divisible by replica x data x fsdp = 8"):
        audio_dataset.training_batches(tiny_audio_dataset, CLIP, settings(tiny_audio_dataset), mesh)


def test_evenly_spaced():
    assert loader.evenly_spaced(10, 5) == [0, 2, 4, 6, 8]
    assert loader.evenly_spaced(3, 8) == [0, 1, 2]
    assert loader.evenly_spaced(0, 8) == []
    assert loader.evenly_spaced(7, 3) == [0, 2, 4]
