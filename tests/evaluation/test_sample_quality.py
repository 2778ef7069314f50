"""The Fréchet distance of samples beside its floor: that of recordings from each other."""

import numpy as np
import pytest
from conftest import tones

from musicgen_jax.evaluation import embeddings, frechet_distance, sample_quality

RATE = 16_000


def music(index: int, seconds: float) -> np.ndarray:
    return tones(index, round(seconds * RATE), RATE)


def frames(audio: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([embeddings.log_mel_statistics(one, RATE) for one in audio])


def test_value_and_floor_are_the_distances_that_they_say():
    references, samples = [music(0, 7), music(1, 5.5)], [music(2, 2), music(3, 2)]
    found, absent = sample_quality.frechet_audio_distance(samples, references, RATE)
    assert absent == {}
    want = frechet_distance.frechet_distance(frames(samples), frames(references))
    assert found["value"] == pytest.approx(want.value, rel=1e-6)
    assert (found["num_frames"], found["num_reference_frames"]) == (6, 13 + 10)
    # Pieces of 2 s: three whole ones and a second of the first recording, two and 1.5 s of the other.
    pieces = [audio[start : start + 2 * RATE] for audio in references for start in range(0, len(audio), 2 * RATE)]
    clips, rest = [pieces[0], pieces[2]], [pieces[1], *pieces[3:]]
    floor = frechet_distance.frechet_distance(frames(clips), frames(rest))
    assert found["floor"] == pytest.approx(floor.value, rel=1e-6) and found["floor"] > 0
    assert (found["floor_num_frames"], found["floor_num_reference_frames"]) == (6, 3 + 1 + 3 + 3 + 2)


@pytest.mark.long
def test_samples_from_the_recordings_lie_about_as_far_as_the_floor():
    recordings = [music(index, 8) for index in range(8)]
    real, _ = sample_quality.frechet_audio_distance([music(index, 2) for index in range(20, 24)], recordings, RATE)
    noise = [0.1 * np.random.default_rng(index).standard_normal(2 * RATE).astype(np.float32) for index in range(4)]
    wrong, _ = sample_quality.frechet_audio_distance(noise, recordings, RATE)
    assert real["floor"] == wrong["floor"]
    assert real["value"] < 3 * real["floor"] and wrong["value"] > 10 * real["floor"]


@pytest.mark.parametrize(("seconds", "reliable"), [(64.5, True), (64.4, False)])
def test_unreliable_below_as_many_frames_as_dimensions(seconds, reliable):
    quiet = np.random.default_rng(0).standard_normal(round(seconds * RATE)).astype(np.float32) / 10
    found, _ = sample_quality.frechet_audio_distance([quiet], [np.tile(quiet, 2)], RATE)
    assert found["num_frames"] == (128 if reliable else 127) and found["dimensions"] == 128
    assert found["reliable"] is reliable


def test_no_floor_where_the_recordings_do_not_suffice():
    found, absent = sample_quality.frechet_audio_distance([music(0, 2), music(1, 2)], [music(2, 4.5)], RATE)
    assert "floor" not in found and found["value"] > 0
    assert "2 whole clips of 2 s, and a floor needs more than the 2" in absent["fad.floor"]


def test_short_samples_are_left_out_and_too_few_frames_are_said():
    recordings = [music(2, 6)]
    found, _ = sample_quality.frechet_audio_distance([music(0, 1.5), music(1, 0.9)], recordings, RATE)
    assert (found["num_frames"], found["num_clips"], found["num_short_clips"]) == (2, 1, 1)
    assert found["clip_seconds"] == 1.5 and found["floor_num_frames"] == 2
    with pytest.raises(ValueError, match="the clips give 0 frames of 1 s"):
        sample_quality.frechet_audio_distance([music(0, 0.9)], recordings, RATE)
    with pytest.raises(ValueError, match="the recordings give 1 frames"):
        sample_quality.frechet_audio_distance([music(0, 2)], [music(1, 1)], RATE)
