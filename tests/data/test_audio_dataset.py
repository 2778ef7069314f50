"""Clips and tracks read back from the shards."""

import itertools

import jax
import numpy as np
import pytest
from conftest import TRACK_SAMPLES, tones

from musicgen_jax import config
from musicgen_jax.data import audio_dataset, audio_io, shards
from musicgen_jax.sharding import mesh as mesh_lib

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
        places, (0, 39_999, 40_000, 45_000, 79_990, 90_002, 10**6), (1, 2000, 45_000, len(track))
    ):
        clip = audio_dataset.read_clip(records, index, position, length)
        start = min(position, len(track) - length)
        np.testing.assert_array_equal(clip, track[start : start + length])
        assert clip.dtype == np.float32


def test_a_short_track_is_padded_at_its_end(tiny_audio_dataset):
    records = shards.open_split(tiny_audio_dataset, "train")
    track, (index,) = stored(0), find(records, 0)
    for position in (0, 3000):
        clip = audio_dataset.read_clip(records, index, position, 8192)
        np.testing.assert_array_equal(clip[: len(track)], track)
        assert not clip[len(track) :].any()


def test_random_clips_begin_anywhere_in_their_record(tiny_audio_dataset):
    records = shards.open_split(tiny_audio_dataset, "train")
    transform, track = audio_dataset.RandomClip(records, 16), stored(LONG)
    index = find(records, LONG)[1]
    windows = {window.tobytes(): i for i, window in enumerate(np.lib.stride_tricks.sliding_window_view(track, 16))}
    starts = [
        windows[transform.random_map(index, np.random.default_rng(seed))["audio"].tobytes()] for seed in range(40)
    ]
    assert min(starts) >= 40_000 and max(starts) < 80_000 and np.ptp(starts) > 20_000


def test_read_tracks_gives_every_track_whole(tiny_audio_dataset):
    seen = []
    for split in shards.split_names(tiny_audio_dataset):
        for facts, blocks in audio_dataset.read_tracks(tiny_audio_dataset, split):
            index = int(facts["track_id"][-2:])
            np.testing.assert_array_equal(np.concatenate(list(blocks)), stored(index))
            assert facts == {
                "track_id": f"track{index:02d}",
                "genre": ("flute", "organ")[index % 2],
                "artist": f"artist{index % 3}",
                "track_samples": TRACK_SAMPLES[index],
            }
            seen.append(index)
    assert sorted(seen) == list(range(len(TRACK_SAMPLES)))


def test_validation_is_the_same_every_time_and_from_its_split(tiny_audio_dataset):
    mesh = mesh_lib.make_mesh(config.MeshConfig(data=1), jax.devices()[:1])
    data = config.DataConfig(path=tiny_audio_dataset, batch_size=2)
    batches = audio_dataset.validation_batches(tiny_audio_dataset, 4096, data, 8, mesh)
    first, second = ([np.asarray(batch["audio"]) for batch in batches()] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    records = shards.open_split(tiny_audio_dataset, "validation")
    wanted = [audio_dataset.read_clip(records, i, records[i]["start"], 4096) for i in range(len(records))]
    np.testing.assert_array_equal(np.concatenate(first)[: len(wanted)], wanted)


def test_bad_input(tiny_audio_dataset, tiny_codes, tmp_path):
    audio_dataset.check_sample_rate(tiny_audio_dataset, 4000)
    with pytest.raises(ValueError, match=r"4000 Hz but the model wants 16000 Hz.*--sample_rate=16000"):
        audio_dataset.check_sample_rate(tiny_audio_dataset, 16000)
    with pytest.raises(FileNotFoundError, match="no such dataset directory"):
        audio_dataset.check_sample_rate(str(tmp_path / "absent"), 4000)
    with pytest.raises(FileNotFoundError, match="holds no audio; pass the --out of prepare_data"):
        audio_dataset.check_sample_rate(tiny_codes, 4000)
