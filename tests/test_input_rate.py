"""The input pipeline against the training step of `small`: windows of four-minute tracks, 32 a batch."""

import time

import jax
import numpy as np
import pytest
import tiny_layouts
import tiny_shards

from configs import prior as prior_configs
from musicgen_jax import config
from musicgen_jax.codes import code_dataset, code_shards
from musicgen_jax.data import loader
from musicgen_jax.priors import flops
from musicgen_jax.sharding import meshes
from musicgen_jax.training import throughput

NUM_TRACKS, TOP_CODES = 6, 240 * 44_100 // 128
NUM_BATCHES = 3


@pytest.fixture(scope="module")
def codes(tmp_path_factory) -> str:
    """Random codes of six tracks of four minutes at 44.1 kHz."""
    out = tmp_path_factory.mktemp("codes") / "codes"
    rng = np.random.default_rng(0)
    layout = tiny_layouts.of_vqvae(44_100, 2048)
    metadata = code_shards.metadata(layout, "", "")
    entries = []
    features = code_shards.features(layout, ("genre", "artist"))
    with tiny_shards.ShardWriter(str(out), code_shards.DATASET_NAME, features, ["train"], metadata) as writer:
        for index in range(NUM_TRACKS):
            labels = {"track_id": f"track{index}", "labels": {"genre": "organ", "artist": "nobody"}}
            codes = {
                tier: rng.integers(0, 2048, (TOP_CODES * 128 // hop, 1)).astype(np.int16)
                for tier, hop in tiny_layouts.HOP_LENGTHS.items()
            }
            for segment in code_shards.segments(layout, codes):
                writer.write("train", segment | labels)
            entries.append(code_shards.TrackEntry(**labels, split="train", num_samples=TOP_CODES * 128))
        code_shards.write_index(writer.path, entries)
    return str(out)


@pytest.mark.parametrize("tier", tiny_layouts.TIERS)
def test_small_waits_less_than_two_percent_for_data(codes, tier):
    run = prior_configs.get_config(f"tier={tier},scale=small")
    model = code_dataset.resolve(run.model, codes)
    mesh = meshes.make_mesh(config.MeshConfig(), jax.devices()[:1])
    windows = code_dataset.Windows(codes, "train", model)
    dataset = loader.training_dataset(windows.slots, code_dataset.RandomWindow(windows), run.data, 0, 1)
    loader.to_device(dataset[0], mesh)
    start = time.process_time()  # of all threads: other programs of the machine don't count
    for step in range(1, 1 + NUM_BATCHES):
        batch = loader.to_device(dataset[step], mesh)
    batch_seconds = (time.process_time() - start) / NUM_BATCHES
    assert batch["codes"].shape == (32, 8192, 1)
    step_flops = flops.prior_step_flops(model, run.data.batch_size).model
    # Even if nothing of it ran while the devices work, and in one thread.
    assert batch_seconds < 0.02 * step_flops / throughput.peak_flops(mesh)
    # One thread keeps up with a chip at its peak that has the whole batch to itself.
    assert batch_seconds < step_flops / throughput.DATASHEET_FLOPS["TPU v5 lite"]
