"""Clips and tracks read back from the shards."""

import itertools

import jax
import numpy as np
import pytest
import scipy.stats
from conftest import TRACK_SAMPLES, tones

from musicgen_jax import config
from musicgen_jax.data import audio_dataset, audio_io, shards
from musicgen_jax.sharding import meshes

LONG = 8  # the track of 22.5 s, in three records


def stored(index: int) -> np.ndarray:
    """The track as 16 bits keep it."""
    return audio_io.from_int16(audio_io.to_int16(tones(index, TRACK_SAMPLES[index])))


def find(records, index: int) -> list[int]:
    return [i for i in range(len(records)) if records[i]["track_id"].decode() == f"track{index:02d}"]


def test_read_clip_equals_slicing_the_track(tiny_audio_dataset):
    records = shards.open_split(tiny_audio_dataset, "train")
    track, places = stored(LONG), find(records, LONG)
    assert len(places) == 3
    for index, position, length in itertools.product(
        places, (0, 39_999, 40_000, 45_000, 79_990, 90_002), (1, 2000, 45_000, len(track))
    ):
        start = min(position, len(track) - length)
        clip = audio_dataset.read_clip(records, index, start, length)
        np.testing.assert_array_equal(clip, track[start : start + length])
        assert clip.dtype == np.float32


def test_a_short_track_is_padded_at_its_end(tiny_audio_dataset):
    records = shards.open_split(tiny_audio_dataset, "train")
    track, (index,) = stored(0), find(records, 0)
    clip = audio_dataset.read_clip(records, index, 0, 8192)
    np.testing.assert_array_equal(clip[: len(track)], track)
    assert not clip[len(track) :].any()


def counting_tracks(lengths: tuple[int, ...]) -> list[dict]:
    """Records, at 1000 Hz, of tracks whose every sample has a value of its own: the first track's are 0, 1, 2, ..."""
    records, offset = [], 0
    for length in lengths:
        audio = (offset + np.arange(length) - 2**15).astype(np.int16)
        for start, stop in shards.segment_bounds(length, 1000):
            records.append({"audio": audio[start:stop], "start": start, "track_samples": length})
        offset += length
    return records


@pytest.mark.parametrize(
    ("lengths", "clip"),
    [
        ((30_000,), 10_000),  # a clip is a whole segment: a third of the clips were the last one
        ((12_000, 30_500, 3000), 10_000),  # a short last segment, one that holds its rest, a track shorter than a clip
        ((25_000, 11_500), 23_000),  # clips longer than a segment, and than a track of two
        ((200, 40_000), 50),
    ],
)
def test_random_clips_are_uniform_over_tracks_and_starts(lengths, clip):
    records = counting_tracks(lengths)
    transform = audio_dataset.RandomClip(records, clip, 1000)
    rng = np.random.default_rng(1)
    epochs = 6000 // len(records) * list(range(len(records)))  # every record as often, as the loader's epochs have them
    values = np.array([transform.random_map(index, rng)["audio"][0] for index in epochs])
    firsts = np.round(values * 2**15).astype(int) + 2**15
    ends = np.cumsum(lengths)
    tracks = np.searchsorted(ends, firsts, side="right")
    weights = np.maximum(lengths, clip)
    counts = np.bincount(tracks, minlength=len(lengths))
    assert len(lengths) == 1 or scipy.stats.chisquare(counts, len(firsts) * weights / weights.sum()).pvalue > 0.01
    for track, length in enumerate(lengths):
        starts = firsts[tracks == track] - (ends[track] - length)
        possible = max(length - clip, 0) + 1
        assert starts.min() >= 0 and starts.max() < possible
        bins = min(20, possible)
        edges = np.arange(bins + 1) * possible // bins
        expected = counts[track] * np.diff(edges) / possible
        observed = np.histogram(starts, edges)[0]
        assert bins == 1 or scipy.stats.chisquare(observed, expected).pvalue > 0.01


def test_validation_clips_do_not_pile_up_at_the_end():
    records = counting_tracks((32_000,))
    transform = audio_dataset.RandomClip(records, 10_000, 1000)
    assert [transform.start(record, 0.0) for record in records] == [0, 6875, 13_750, 20_625]


def test_read_tracks_gives_every_track_whole(tiny_audio_dataset):
    seen = []
    for split in shards.split_names(tiny_audio_dataset):
        for facts, blocks in audio_dataset.read_tracks(tiny_audio_dataset, split):
            index = int(facts["track_id"][-2:])
            np.testing.assert_array_equal(np.concatenate(list(blocks)), stored(index))
            assert facts == {
                "track_id": f"track{index:02d}",
                "labels": {"genre": ("flute", "organ")[index % 2], "artist": f"artist{index % 3}"},
                "track_samples": TRACK_SAMPLES[index],
            }
            seen.append(index)
    assert sorted(seen) == list(range(len(TRACK_SAMPLES)))


def test_validation_is_the_same_every_time_and_from_its_split(tiny_audio_dataset):
    mesh = meshes.make_mesh(config.MeshConfig(data=1), jax.devices()[:1])
    data = config.DataConfig(path=tiny_audio_dataset, batch_size=2)
    batches = audio_dataset.validation_batches(tiny_audio_dataset, 4096, data, 8, mesh)
    first, second = ([np.asarray(batch["audio"]) for batch in batches()] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    records = shards.open_split(tiny_audio_dataset, "validation")
    for record, clip in zip(records, np.concatenate(first), strict=False):
        start, last = record["start"], max(record["track_samples"] - 4096, 0)
        track = stored(int(record["track_id"][-2:]))[start * (last + 1) // record["track_samples"] :][:4096]
        np.testing.assert_array_equal(clip, np.pad(track, (0, 4096 - len(track))))


def test_bad_input(tiny_audio_dataset, tiny_codes, tmp_path):
    audio_dataset.check_sample_rate(tiny_audio_dataset, 4000)
    with pytest.raises(ValueError, match=r"4000 Hz but the model wants 16000 Hz.*sample_rate=16000"):
        audio_dataset.check_sample_rate(tiny_audio_dataset, 16000)
    with pytest.raises(FileNotFoundError, match="no such dataset directory"):
        audio_dataset.check_sample_rate(str(tmp_path / "absent"), 4000)
    with pytest.raises(FileNotFoundError, match="holds no audio; pass a folder that prepare_data wrote"):
        audio_dataset.check_sample_rate(tiny_codes, 4000)
