"""Statistics of the training data: against NumPy, on sets of any size, the same every time."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny_runs
import tiny_shards
from conftest import SAMPLE_RATE

from musicgen_jax import config
from musicgen_jax.audio import spectral_losses
from musicgen_jax.data import audio_io, shards
from musicgen_jax.sharding import meshes
from musicgen_jax.tokenizers.vqvae import data_statistics
from musicgen_jax.training import step

CLIP = 2048
DATA = config.DataConfig(batch_size=4)


def write(directory, tracks: list[np.ndarray]) -> str:
    """Audio shards of int16 tracks, all in the train split."""
    facts = {"sample_rate": SAMPLE_RATE}
    with tiny_shards.ShardWriter(directory, "tracks", shards.audio_features(), ("train",), facts) as writer:
        for number, audio in enumerate(tracks):
            labels = {"track_id": f"track{number}", "track_samples": len(audio)}
            for segment, (start, stop) in enumerate(shards.segment_bounds(len(audio), SAMPLE_RATE)):
                record = {"audio": audio[start:stop], "segment": segment, "start": start}
                writer.write("train", labels | record)
    return str(directory)


def noise(num_samples: int, level: int = 3000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-level, level, num_samples).astype(np.int16)


def test_one_track_of_a_fifth_of_a_second(tmp_path):
    audio = noise(SAMPLE_RATE // 5)
    path = write(tmp_path / "data", [audio])
    found = data_statistics.measure(path, CLIP, DATA, config.LossConfig())
    clip = np.zeros(CLIP)
    clip[: len(audio)] = audio_io.from_int16(audio)  # the only clip there is: the track and the silence that pads it
    assert found.mean_square == pytest.approx((clip**2).mean() + 1e-8, rel=1e-5)
    assert found.mean_abs == pytest.approx(np.abs(clip).mean() + 1e-4, rel=1e-5)
    powers = [float((m**2).mean()) + 1e-8 for m in spectral_losses.magnitudes(np.float32(clip)[None])]
    assert len(powers) == 3 and found.spectral_powers == pytest.approx(powers, rel=1e-5)


def test_large_sets_are_measured_well(tmp_path):
    tracks = [noise(12 * SAMPLE_RATE, level, seed) for seed, level in enumerate((1000, 4000, 8000))]
    path = write(tmp_path / "data", tracks)
    found = data_statistics.measure(path, CLIP, DATA, config.LossConfig())
    every = audio_io.from_int16(np.concatenate(tracks))
    assert found.mean_square == pytest.approx((every**2).mean(), rel=0.1)
    assert found.mean_abs == pytest.approx(np.abs(every).mean(), rel=0.1)
    # A part of the data gives other numbers: it is the seconds asked for that are measured.
    short = data_statistics.measure(path, CLIP, DATA, config.LossConfig(data_seconds=0.1))
    assert short.mean_square != found.mean_square


def test_clips_do_not_pile_up_at_the_end_of_a_track(tmp_path):
    seconds = 10
    audio = np.concatenate([noise(2 * SAMPLE_RATE), np.zeros(seconds * SAMPLE_RATE, np.int16)])
    path = write(tmp_path / "data", 60 * [audio])
    found = data_statistics.measure(path, seconds * SAMPLE_RATE, DATA, config.LossConfig(spectral=0, data_seconds=1e4))
    # Clips begin anywhere in the two seconds of noise: on average one second of it is in their ten.
    loud = audio_io.from_int16(audio[: 2 * SAMPLE_RATE])
    assert found.mean_square == pytest.approx((loud**2).mean() / seconds, rel=0.15)


def test_a_function_of_data_and_seed_alone(tiny_audio_dataset):
    settings = config.LossConfig(data_seconds=8)
    first = data_statistics.measure(tiny_audio_dataset, CLIP, DATA, settings)
    for other in (DATA, dataclasses.replace(DATA, batch_size=16, num_workers=2)):
        assert data_statistics.measure(tiny_audio_dataset, CLIP, other, settings) == first
    assert data_statistics.measure(tiny_audio_dataset, CLIP, dataclasses.replace(DATA, seed=1), settings) != first


def test_spectra_are_measured_only_where_they_are_compared(tiny_audio_dataset):
    settings = config.LossConfig(spectral=0, data_seconds=1)
    found = data_statistics.measure(tiny_audio_dataset, 128, DATA, settings)  # no window fits into this clip
    assert found.spectral_powers == () and found.mean_square > 1e-4


def test_silence_is_an_error(tmp_path):
    path = write(tmp_path / "data", [np.zeros(SAMPLE_RATE, np.int16), noise(SAMPLE_RATE, level=2)])
    with pytest.raises(ValueError, match=r"is silent \(.*below -80 dB\): .*loss.normalization=batch"):
        data_statistics.measure(path, CLIP, DATA, config.LossConfig())


@pytest.mark.long
def test_a_loud_and_a_quiet_batch_are_evaluated_as_one():
    """Ratios of sums: the silence of one batch does not weigh as much as the sound of the other."""
    task = tiny_runs.vqvae_task()
    current, _ = tiny_runs.start(
        task, config.TrainingConfig(num_steps=1), meshes.make_mesh(config.MeshConfig(), jax.devices()[:1])
    )
    loud = tiny_runs.vqvae_batch(0)
    quiet = {"audio": 0.01 * tiny_runs.vqvae_batch(1)["audio"]}
    evaluate = step.make_evaluation(task)
    batches = data_statistics.with_statistics(lambda: iter([loud, quiet]), config.LossConfig())
    found = evaluate(current, batches())
    together = evaluate(current, [{"audio": np.concatenate([loud["audio"], quiet["audio"]])}])
    for name, value in together.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
