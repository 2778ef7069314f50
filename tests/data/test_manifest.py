"""The split: no leakage, the same every time, every genre held out."""

import collections
import dataclasses
import itertools

import numpy as np
import pytest

from musicgen_jax.data import manifest, track
from musicgen_jax.runtime.errors import UserError


def make_tracks(genre_of: dict[str, str], per_group: int = 1) -> list[track.Track]:
    return [
        track.Track(
            f"{group}-{i}", f"{group}-{i}.wav", group, "", {"genre": genre, "artist": "unknown"}, 1.0, 8000, 1, list
        )
        for group, genre in genre_of.items()
        for i in range(per_group)
    ]


def counts(splits: dict[str, str]) -> dict[str, int]:
    return dict(collections.Counter(splits.values()))


def test_sizes():
    for groups, held_out in ((3, 1), (14, 1), (15, 2), (100, 10)):
        splits = manifest.split_groups(make_tracks({f"g{i}": "a" for i in range(groups)}), seed=0)
        assert counts(splits) == {"train": groups - 2 * held_out, "validation": held_out, "test": held_out}
    assert counts(manifest.split_groups(make_tracks({"a": "x", "b": "y"}), seed=0)) == {"train": 2}
    assert manifest.split_groups([], seed=0) == {}


def test_same_whatever_the_order_and_other_for_another_seed():
    tracks = make_tracks({f"g{i}": f"genre{i % 4}" for i in range(60)}, per_group=2)
    splits = manifest.split_groups(tracks, seed=0)
    assert manifest.split_groups(tracks[::-1], seed=0) == splits
    assert manifest.split_groups(tracks, seed=1) != splits
    assert len(splits) == 60  # one split a group, so its tracks can't be divided


@pytest.mark.parametrize("seed", range(5))
def test_every_genre_with_three_groups_is_in_every_split(seed):
    genre_of = (
        {f"g{i}": "common" for i in range(40)} | {f"r{i}": "rare" for i in range(3)} | {"l0": "lone", "l1": "pair"}
    )
    splits = manifest.split_groups(make_tracks(genre_of), seed=seed)
    for genre in ("common", "rare"):
        assert {splits[group] for group in genre_of if genre_of[group] == genre} == set(manifest.SPLITS)
    assert splits["l0"] == splits["l1"] == "train"  # two groups left over: too few to hold one out


def seconds_of(durations: list[float], seed: int, genre_of=lambda index: "a") -> dict[str, float]:
    tracks = [
        track.Track(f"t{i}", f"t{i}.wav", f"g{i}", "", {"genre": genre_of(i), "artist": "a"}, duration, 8000, 1, list)
        for i, duration in enumerate(durations)
    ]
    totals = dict.fromkeys(manifest.SPLITS, 0.0)
    for item in tracks:
        totals[manifest.split_groups(tracks, seed)[item.group]] += item.duration
    return totals


@pytest.mark.parametrize("durations", list(itertools.permutations((5.0, 20.0, 61.0))))
def test_of_three_files_the_longest_is_for_training(durations):
    for seed in range(5):
        assert seconds_of(list(durations), seed) == {"train": 61.0, "validation": 5.0, "test": 20.0}


@pytest.mark.parametrize("seed", range(10))
def test_splits_are_balanced_by_duration(seed):
    durations = np.random.default_rng(seed).lognormal(4, 1, 60).tolist()  # seconds to many minutes
    totals = seconds_of(durations, seed)
    for split in manifest.HELD_OUT:
        assert 0.05 < totals[split] / sum(durations) < 0.15, totals
    by_genre = seconds_of(durations, seed, lambda index: f"genre{index % 3}")
    assert by_genre["train"] > 0.7 * sum(durations), by_genre


def test_one_long_recording_is_not_all_that_is_left_to_train_on():
    splits = [seconds_of([3600.0] + [30.0] * 20, seed) for seed in range(5)]
    assert all(totals["train"] >= 3600 + 12 * 30 for totals in splits)
    assert all(totals[split] == 4 * 30 for totals in splits for split in manifest.HELD_OUT)


def test_rare_genres_are_split_together():
    splits = manifest.split_groups(make_tracks({f"g{i}": f"genre{i}" for i in range(10)}), seed=0)
    assert counts(splits) == {"train": 8, "validation": 1, "test": 1}


def test_groups_of_several_genres():
    # Every work in every timbre: whatever is held out covers all genres, so a tenth is enough.
    tracks = [item for genre in "abcd" for item in make_tracks({f"g{i}": genre for i in range(30)})]
    assert counts(manifest.split_groups(tracks, seed=0)) == {"train": 24, "validation": 3, "test": 3}


def test_any_name_and_tag_survives(tmp_path):
    strange = "a\nb\r\x85\u2028\u2029\x0b\x1e'\"\\ü\x00\ud800"
    item = track.Track(strange, strange, "g", "", {"genre": strange, "artist": strange}, 1.0, 8000, 1, list)
    rows = [manifest.accepted(item, "train", 100, 1)]
    manifest.write(tmp_path, rows)
    assert manifest.read(tmp_path) == rows


def test_a_damaged_manifest_is_one_line_with_its_name(tmp_path):
    for damage in ('{"path": 3}', "{", "[]", '{"path": "a", "other": 1}'):
        (tmp_path / "manifest.jsonl").write_text(damage)
        with pytest.raises(UserError, match=r"manifest\.jsonl(, line 1,|: row 1) (is damaged|lacks|has no field)"):
            manifest.read(tmp_path)


def test_rows_round_trip_sorted(tmp_path):
    item = make_tracks({"z": "é"})[0]
    rows = [manifest.accepted(item, "train", 100, 1), manifest.rejected(track.Rejection("a.wav", "silent: very"))]
    manifest.write(tmp_path, rows)
    assert manifest.read(tmp_path) == rows[::-1]
    with pytest.raises(FileNotFoundError, match=r"no manifest\.jsonl"):
        manifest.read(tmp_path / "absent")


def test_a_track_may_name_its_split():
    tracks = make_tracks({f"g{index}": "a" for index in range(10)}, per_group=2)
    named = [dataclasses.replace(item, split="test") if item.track_id == "g3-0" else item for item in tracks]
    splits = manifest.split_tracks(named, seed=0)
    assert splits["g3-0"] == splits["g3-1"] == "test"  # the rest of its group goes with it
    rest = [item for item in tracks if item.group != "g3"]
    expected = manifest.split_groups(rest, seed=0)
    assert {item.track_id: splits[item.track_id] for item in rest} == {
        item.track_id: expected[item.group] for item in rest
    }
    assert manifest.divided_groups(named) == 0


def test_the_split_of_a_source_may_divide_a_group():
    tracks = make_tracks({"a": "x", "b": "x"}, per_group=3)
    own = {"a-0": "test", "a-1": "train"}
    named = [dataclasses.replace(item, split=own.get(item.track_id, "")) for item in tracks]
    splits = manifest.split_tracks(named, seed=0)
    assert [splits[f"a-{i}"] for i in range(3)] == ["test", "train", "train"]
    assert manifest.divided_groups(named) == 1
