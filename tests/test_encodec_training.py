"""EnCodec through the rooms: trained against a discriminator, extracted, modelled, sampled and decoded."""

import dataclasses

import command_line
import jax
import numpy as np
import pytest
import tiny_priors
import tiny_runs

from musicgen_jax import config, kinds
from musicgen_jax.audio import spectral_losses
from musicgen_jax.codes import code_dataset
from musicgen_jax.sampling import hierarchy, requests
from musicgen_jax.sharding import meshes
from musicgen_jax.tokenizers import extraction
from musicgen_jax.tokenizers.adversarial import adversarial
from musicgen_jax.tokenizers.encodec import encodec, encodec_tokenizer

pytestmark = pytest.mark.long

HOP, CONTEXT = 8, 16
RUN = config.EncodecTraining(
    model=tiny_runs.encodec_config(),
    loss=config.LossConfig(l1=0.1, l2=1.0, spectral=0.0, mel=1.0),
    adversarial=config.AdversarialConfig(weight=0.1, fft_sizes=(64,), width=4),
    clip_samples=tiny_runs.CLIP_SAMPLES,
    data=config.DataConfig(path="x", batch_size=tiny_runs.BATCH_SIZE),
)


@pytest.fixture(scope="module")
def trained() -> tuple[list[encodec_tokenizer.EncodecTokenizer], list[dict]]:
    """([the tokenizer before training, and behind], metrics of each step)."""
    RUN.validate()
    training = config.TrainingConfig(num_steps=60)
    mesh = meshes.make_mesh(config.MeshConfig(), jax.devices()[:1])
    settings = config.OptimizerConfig(peak_learning_rate=1e-2)
    current, train_step = tiny_runs.start(kinds.task(RUN), training, mesh, settings)
    tokenizers, metrics = [], []
    for index in range(training.num_steps + 1):
        if index in (0, training.num_steps):
            weights = adversarial.tiers_alone(RUN, jax.device_get((current.params, current.buffers)))
            tokenizers.append(encodec_tokenizer.EncodecTokenizer(RUN.model, *weights))
        if index < training.num_steps:
            current, found = train_step(current, tiny_runs.vqvae_batch(index))
            metrics.append(jax.device_get(found))
    return tokenizers, metrics


def test_training_reconstructs(trained):
    (before, behind), metrics = trained
    names = {"l1", "l2", "mel", "commitment", "usage", "perplexity", "restarts", "adversarial", "feature_matching"}
    assert {f"codes/{name}" for name in names} | {"discriminator/loss"} <= set(metrics[0])
    assert np.isfinite(tiny_runs.losses(metrics)).all()
    audio = tiny_runs.vqvae_batch(999)["audio"][0]
    heard = [one.decode(one.encode(iter([audio]))["codes"], "codes") for one in (before, behind)]
    wanted = spectral_losses.log_mels(audio[None], 4000)
    errors = [float(spectral_losses.mel_distance(wanted, spectral_losses.log_mels(one[None], 4000))) for one in heard]
    assert errors[1] < 0.6 * errors[0]


def test_its_weights_are_the_codec_alone(trained):
    functional = kinds.of(RUN).functional(RUN)
    assert {"codes", "discriminator"} <= set(functional.abstract_params)
    alone = adversarial.functional(
        dataclasses.replace(RUN, adversarial=config.AdversarialConfig()), network=encodec.Encodec
    )
    assert set(alone.abstract_params) == {"codes"}


def test_a_prior_of_its_codes(trained, tiny_audio_dataset, tmp_path):
    tokenizer, folder = trained[0][1], str(tmp_path / "codes")
    extraction.extract(tokenizer, tiny_audio_dataset, folder, window_seconds=2.0)
    model = dataclasses.replace(tiny_priors.model_config(context=CONTEXT, num_layers=1), tier="codes")
    prior = tiny_priors.trained_prior(code_dataset.resolve(model, folder), folder)
    request = requests.Request(seconds=2 * CONTEXT * HOP / 4000, num_samples=2, seed=3, batch_size=2)
    codes = hierarchy.sample_codes(tokenizer.layout, {"codes": prior}, request)["codes"]
    assert codes.shape == (2, 2 * CONTEXT, 3) and len(np.unique(codes, axis=0)) == 2
    assert tokenizer.decode(codes[0], "codes").shape == (2 * CONTEXT * HOP,)


def test_the_command_trains_one_and_says_what_comes_next(tiny_audio_dataset, tmp_path):
    model = {"sample_rate": 4000, "filters": 4, "strides": "(2, 4)", "quantizer.num_codes": 16}
    done = command_line.run(
        "musicgen_jax.train_vqvae",
        "--config=configs/encodec.py:scale=tiny",
        f"--workdir={tmp_path / 'vqvae'}",
        f"--config.data.path={tiny_audio_dataset}",
        *(f"--config.model.{name}={value}" for name, value in model.items()),
        "--config.clip_samples=512",
        "--config.data.batch_size=2",
        "--config.training.num_steps=2",
        "--config.optimizer.warmup_steps=1",
    )
    assert done.returncode == 0, done.stderr
    assert "extract_codes" in done.stderr and (tmp_path / "vqvae" / "reconstruction" / "codes.wav").is_file()
