"""The Fréchet distance of samples beside its floor: that of recordings from each other."""

import numpy as np
import pytest
from conftest import tones

from musicgen_jax.evaluation import frechet_distance, kernel_distance, sample_quality
from musicgen_jax.evaluation.embeddings.log_mel_statistics import LogMelStatistics

RATE = 16_000
EMBEDDING = LogMelStatistics()


def music(index: int, seconds: float) -> np.ndarray:
    return tones(index, round(seconds * RATE), RATE)


def frames(audio: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([EMBEDDING.embed(one, RATE) for one in audio])


def measured(samples: list[np.ndarray], references: list[np.ndarray]) -> tuple[dict, dict]:
    named = {f"{index:03d}.wav": one for index, one in enumerate(samples)}
    return sample_quality.frechet_audio_distance(named, references, RATE, EMBEDDING)


def test_value_and_floor_are_the_distances_that_they_say():
    references, samples = [music(0, 7), music(1, 5.5)], [music(2, 2), music(3, 2)]
    found, absent = measured(samples, references)
    assert absent.keys() == {"infinite"} and "6 frames of 128 dimensions" in absent["infinite"]
    want = frechet_distance.frechet_distance(frames(samples), frames(references))
    assert found["value"] == pytest.approx(want.value, rel=1e-6)
    assert (found["num_frames"], found["num_reference_frames"]) == (6, 13 + 10)
    # Pieces of 2 s: three whole ones and a second of the first recording, two and 1.5 s of the other.
    pieces = [audio[start : start + 2 * RATE] for audio in references for start in range(0, len(audio), 2 * RATE)]
    clips, rest = [pieces[0], pieces[2]], [pieces[1], *pieces[3:]]
    floor = frechet_distance.frechet_distance(frames(clips), frames(rest))
    assert found["floor"] == pytest.approx(floor.value, rel=1e-6) and found["floor"] > 0
    assert (found["floor_num_frames"], found["floor_num_reference_frames"]) == (6, 3 + 1 + 3 + 3 + 2)
    bandwidth = kernel_distance.median_distance(frames(references))
    for value, one, other in (
        ("value", frames(samples), frames(references)),
        ("floor", frames(clips), frames(rest)),
    ):
        kernel = kernel_distance.kernel_distance(one, other, bandwidth)
        assert found["kernel"][value] == pytest.approx(kernel, rel=1e-6)


def test_a_recording_is_not_embedded_twice_where_it_is_a_clip():
    calls = []

    class Counted(LogMelStatistics):
        def embed(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
            calls.append(len(audio))
            return super().embed(audio, sample_rate)

    recordings = [music(index, 2) for index in range(3)]
    sample_quality.frechet_audio_distance({"a": music(3, 2)}, recordings, RATE, Counted())
    assert len(calls) == 4


def test_the_sample_that_is_no_music_is_the_first_of_the_tracks():
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)
    recordings = [music(index, 4) for index in range(4)]
    found, _ = measured([music(5, 2), noise, music(6, 2)], recordings)
    assert found["tracks"][0]["name"] == "001.wav"
    values = [track["value"] for track in found["tracks"]]
    assert values == sorted(values, reverse=True) and values[0] > 3 * values[1]
    alone = frechet_distance.frechet_distance(frames([noise]), frames(recordings))
    assert values[0] == pytest.approx(alone.value, rel=1e-6)


def test_each_embedding_has_its_name_and_the_first_is_fad():
    class Other(LogMelStatistics):
        name = "other"
        window_seconds = 60.0

    samples = {"a": music(0, 2), "b": music(1, 2)}
    found, absent = sample_quality.distances(
        samples, [music(2, 9)], RATE, sample_quality.Comparison([EMBEDDING, Other()])
    )
    assert found["distances"].keys() == {"FD-log-mel-statistics"}
    assert found["fad"] is found["distances"]["FD-log-mel-statistics"]
    assert (found["fad"]["embedding"], found["fad"]["embedding_hash"]) == (EMBEDDING.name, EMBEDDING.version)
    assert absent.keys() == {"fad.infinite", "FD-other"} and "the clips give 0 frames of 60 s" in absent["FD-other"]


@pytest.mark.long
def test_samples_from_the_recordings_lie_about_as_far_as_the_floor():
    recordings = [music(index, 8) for index in range(8)]
    real, _ = measured([music(index, 2) for index in range(20, 24)], recordings)
    noise = [0.1 * np.random.default_rng(index).standard_normal(2 * RATE).astype(np.float32) for index in range(4)]
    wrong, _ = measured(noise, recordings)
    assert real["floor"] == wrong["floor"]
    assert real["value"] < 3 * real["floor"] and wrong["value"] > 10 * real["floor"]


@pytest.mark.parametrize(("seconds", "reliable"), [(64.5, True), (64.4, False)])
def test_unreliable_below_as_many_frames_as_dimensions(seconds, reliable):
    quiet = np.random.default_rng(0).standard_normal(round(seconds * RATE)).astype(np.float32) / 10
    found, _ = measured([quiet], [np.tile(quiet, 2)])
    assert found["num_frames"] == (128 if reliable else 127) and found["dimensions"] == 128
    assert found["reliable"] is reliable


def test_no_floor_where_the_recordings_do_not_suffice():
    found, absent = measured([music(0, 2), music(1, 2)], [music(2, 4.5)])
    assert "floor" not in found and found["value"] > 0
    assert "2 whole clips of 2 s, and a floor needs more than the 2" in absent["floor"]


def test_short_samples_are_left_out_and_too_few_frames_are_said():
    recordings = [music(2, 6)]
    found, _ = measured([music(0, 1.5), music(1, 0.9)], recordings)
    assert (found["num_frames"], found["num_clips"], found["num_short_clips"]) == (2, 1, 1)
    assert found["clip_seconds"] == 1.5 and found["floor_num_frames"] == 2
    with pytest.raises(ValueError, match="the clips give 0 frames of 1 s"):
        measured([music(0, 0.9)], recordings)
    with pytest.raises(ValueError, match="the recordings give 1 frames"):
        measured([music(0, 2)], [music(1, 1)])


def test_statistics_that_were_written_stand_for_the_recordings(tmp_path):
    samples, recordings = {"a": music(0, 2), "b": music(1, 2)}, [music(2, 9)]
    folder = tmp_path / "embeddings"
    first, _ = sample_quality.distances(
        samples, recordings, RATE, sample_quality.Comparison([EMBEDDING], folder=folder)
    )
    assert {path.name for path in folder.iterdir()} == {
        "log-mel-statistics-samples.npz",
        "log-mel-statistics-recordings.npz",
    }
    comparison = sample_quality.prepare([EMBEDDING.name], None, str(folder), str(tmp_path))
    again, absent = sample_quality.distances(samples, [], RATE, comparison)
    assert again["fad"]["value"] == first["fad"]["value"] and "stored statistics" in absent["fad.floor"]
    assert again["fad"]["kernel"]["value"] == first["fad"]["kernel"]["value"]


def test_statistics_of_another_version_are_refused(tmp_path, monkeypatch):
    comparison = sample_quality.Comparison([EMBEDDING], folder=tmp_path)
    sample_quality.distances({"a": music(0, 2)}, [music(2, 9)], RATE, comparison)
    monkeypatch.setattr(LogMelStatistics, "version", "0123456789abcdef")
    with pytest.raises(ValueError, match=r"recordings.npz is of log-mel-statistics .* they do not compare"):
        sample_quality.prepare([EMBEDDING.name], None, str(tmp_path), "")
    with pytest.raises(FileNotFoundError, match=r"no log-mel-statistics-recordings.npz"):
        sample_quality.prepare([EMBEDDING.name], None, str(tmp_path / "nowhere"), "")
