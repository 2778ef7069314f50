"""The container: what is written comes back, in order, and a torn directory never looks whole."""

import itertools
import pickle

import grain
import numpy as np
import pytest
import tensorflow_datasets as tfds
import tiny_shards
from absl import flags

from musicgen_jax.data import shard_files, shards
from musicgen_jax.runtime.errors import UserError

SPLITS = ("train", "validation", "test")


def record(index: int, size: int = 50) -> dict[str, object]:
    audio = np.random.default_rng(index).integers(-32768, 32768, size, dtype=np.int16)
    labels = {"genre": "vals é", "artist": "unknown"}
    return {
        "audio": audio,
        "track_id": f"t{index}",
        "segment": index,
        "start": 7,
        "track_samples": 2**40,
        "labels": labels,
    }


def make_writer(directory):
    return tiny_shards.ShardWriter(
        directory, "musicgen_audio", shards.audio_features(["genre", "artist"]), SPLITS, {"sample_rate": 8000}
    )


def write(directory, num_records: int) -> None:
    with make_writer(directory) as writer:
        for index in range(num_records):
            writer.write(SPLITS[index % 2], record(index))


def test_round_trip_over_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_files, "RECORDS_PER_SHARD", 3)
    write(tmp_path / "out", 21)
    source = shards.open_split(tmp_path / "out", "train")
    assert len(source) == 11
    for position in (0, 10, 5, 3):
        got, want = source[position], record(2 * position)
        np.testing.assert_array_equal(got["audio"], want["audio"])
        assert got["audio"].dtype == np.int16
        assert got["track_id"].decode() == want["track_id"] and shards.labels_of(got) == want["labels"]
        assert [got[key] for key in ("segment", "start", "track_samples")] == [2 * position, 7, 2**40]
    assert pickle.loads(pickle.dumps(source))[4]["segment"] == 8
    assert shards.read_metadata(tmp_path / "out") == {"sample_rate": 8000}
    assert len(list((tmp_path / "out").glob("*train*"))) == 4
    assert shards.split_sizes(tmp_path / "out") == {"train": 11, "validation": 10}
    assert shards.split_names(tmp_path / "out") == ["train", "validation"]


def test_tfds_reads_it(tmp_path):
    write(tmp_path / "out", 4)
    builder = tfds.builder_from_directory(str(tmp_path / "out"))
    assert {name: info.num_examples for name, info in builder.info.splits.items()} == {"train": 2, "validation": 2}
    np.testing.assert_array_equal(builder.as_data_source("validation")[1]["audio"], record(3)["audio"])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(tmp_path, error):
    with pytest.raises(error), make_writer(tmp_path / "out") as writer:
        writer.write("train", record(0))
        (writer.path / "manifest.jsonl").write_text("{}")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_are_replaced(tmp_path):
    killed = make_writer(tmp_path / "out")
    killed.__enter__().write("train", record(0))
    with pytest.raises(FileNotFoundError, match="holds no prepared dataset"):
        shards.open_split(tmp_path / "out", "train")
    write(tmp_path / "out", 2)
    assert len(shards.open_split(tmp_path / "out", "train")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not list((tmp_path / "out").glob(".*"))


def test_bad_input(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(ValueError, match="holds other things"):
        make_writer(tmp_path / "full")
    with pytest.raises(ValueError, match="is no folder"):
        make_writer(tmp_path / "full" / "notes.txt")
    with pytest.raises(ValueError, match="at least one"), make_writer(tmp_path / "out"):
        pass
    with make_writer(tmp_path / "out") as writer:
        with pytest.raises(ValueError, match="exactly"):
            writer.write("train", {"audio": np.zeros(3, np.int16)})
        writer.write("train", record(0))
    with pytest.raises(ValueError, match=r"no records in split 'test'; it has train \(1 records\)"):
        shards.open_split(tmp_path / "out", "test")
    with pytest.raises(FileNotFoundError, match="no such dataset directory"):
        shards.open_split(tmp_path / "absent", "train")
    with pytest.raises(FileNotFoundError, match="holds no prepared dataset"):
        shards.open_split(tmp_path / "full", "train")


def test_segment_bounds_cover_everything():
    rate = 100
    assert shards.segment_bounds(50, rate) == [(0, 50)]
    assert shards.segment_bounds(1000, rate) == [(0, 1000)]
    assert shards.segment_bounds(1099, rate) == [(0, 1099)]
    assert shards.segment_bounds(1100, rate) == [(0, 1000), (1000, 1100)]
    for num_samples in range(1, 5000, 37):
        bounds = shards.segment_bounds(num_samples, rate)
        assert bounds[0][0] == 0 and bounds[-1][1] == num_samples
        assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(bounds))
        assert all(stop - start < 1100 for start, stop in bounds)


def damage(path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 16
    path.write_bytes(content)


def test_a_damaged_shard_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_files, "RECORDS_PER_SHARD", 2)
    write(tmp_path / "out", 8)  # four of train: two shards
    first, second = sorted((tmp_path / "out").glob("*train*"))
    damage(second, second.read_bytes().index(np.asarray(record(4)["audio"]).tobytes()[:20]) + 3)
    source = shards.open_split(tmp_path / "out", "train")
    assert [source[index]["segment"] for index in (0, 1)] == [0, 2]
    with pytest.raises(UserError, match=rf"^{second} is damaged \(.*hash mismatch"):
        source[2]
    first.write_bytes(first.read_bytes()[:5000])
    with pytest.raises(UserError, match=rf"^{first} is damaged"):
        shards.open_split(tmp_path / "out", "train")[0]
    second.unlink()
    with pytest.raises(UserError, match=rf"^{second} is damaged"):
        shards.open_split(tmp_path / "out", "train")[3]


def fails(index: int) -> None:
    raise UserError(f"shard {index} is damaged")


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_grain_hands_the_error_on_as_it_is(num_workers):
    flags.FLAGS.is_parsed() or flags.FLAGS(["test"])
    dataset = grain.MapDataset.range(3).map(fails).to_iter_dataset()
    if num_workers:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=num_workers))
    with pytest.raises(UserError, match=r"^shard 0 is damaged"):
        next(iter(dataset))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.json", "{", r"metadata\.json is damaged: it is no whole JSON"),
        ("metadata.json", "{}", r"metadata\.json: sample_rate is None and must be a whole number"),
        ("metadata.json", '{"sample_rate": 0}', r"sample_rate is 0 and must be in \(0, 768000\]"),
        ("features.json", "{", r"dataset_info\.json or features\.json is damaged"),
        ("dataset_info.json", '{"splits": 3}', r"dataset_info\.json or features\.json is damaged"),
    ],
)
def test_a_damaged_description_is_named(tmp_path, name, content, message):
    write(tmp_path / "out", 2)
    (tmp_path / "out" / name).write_text(content)
    with pytest.raises(UserError, match=message):
        shards.read_metadata(tmp_path / "out") and shards.open_split(tmp_path / "out", "train")
