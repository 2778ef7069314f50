"""A Descript audio codec through the rooms: trained against its discriminators, extracted, modelled and sampled."""

import jax
import numpy as np
import pytest
import tiny_dac
import tiny_priors
import tiny_runs
from conftest import SAMPLE_RATE, tones

from musicgen_jax import config, kinds
from musicgen_jax.audio import spectral_losses
from musicgen_jax.sampling import hierarchy, requests
from musicgen_jax.sharding import meshes
from musicgen_jax.tokenizers.adversarial import adversarial
from musicgen_jax.tokenizers.dac import dac, dac_tokenizer

pytestmark = pytest.mark.long

CLIP_SAMPLES, BATCH_SIZE, CONTEXT = 16 * tiny_dac.HOP, 4, 16


@pytest.fixture(scope="module")
def run() -> config.DACTraining:
    made = config.DACTraining(
        model=tiny_dac.model_config(),
        adversarial=config.AdversarialConfig(
            weight=1.0,
            feature_matching=2.0,
            fft_sizes=(64,),
            bands=(0.5,),
            periods=(2,),
            width=2,
            objective="squares",
            normalize=True,
            balance_decay=0.0,
        ),
        clip_samples=CLIP_SAMPLES,
        data=config.DataConfig(path="x", batch_size=BATCH_SIZE),
    )
    made.validate()
    return made


def batch(index: int) -> dict[str, np.ndarray]:
    return {"audio": np.stack([tones(BATCH_SIZE * index + row, CLIP_SAMPLES) for row in range(BATCH_SIZE)])}


@pytest.fixture(scope="module")
def trained(run):
    """(the tokenizer before training, the one after a few steps, metrics of each step)."""
    training = config.TrainingConfig(num_steps=60)
    mesh = meshes.make_mesh(config.MeshConfig(), jax.devices()[:1])
    settings = config.OptimizerConfig(peak_learning_rate=3e-3, b1=0.8, b2=0.99, clip_norm=10.0)
    current, train_step = tiny_runs.start(kinds.task(run), training, mesh, settings)

    def tokenizer() -> dac_tokenizer.DACTokenizer:
        weights = jax.device_get((current.params, current.buffers))
        return dac_tokenizer.DACTokenizer(run.model, *adversarial.tiers_alone(run, weights))

    before, metrics = tokenizer(), []
    for index in range(training.num_steps):
        current, found = train_step(current, batch(index))
        metrics.append(jax.device_get(found))
    return before, tokenizer(), metrics


def mel_distance(one: np.ndarray, other: np.ndarray) -> float:
    mels = [spectral_losses.log_mels(audio[None], SAMPLE_RATE) for audio in (one, other)]
    return float(spectral_losses.mel_distance(*mels))


def num_codes(tokenizer: dac_tokenizer.DACTokenizer, num_batches: int) -> np.ndarray:
    """How many codes of each codebook the first batches of training are told in, int [Q]."""
    clips = (clip for index in range(num_batches) for clip in batch(index)["audio"])
    codes = np.concatenate([tokenizer.encode(iter([clip]))["codes"] for clip in clips])
    return np.array([len(np.unique(of_codebook)) for of_codebook in codes.T])


def test_training_lowers_the_loss_and_the_codec_sounds_more_like_what_it_hears(trained):
    before, after, metrics = trained
    names = {f"codes/{name}" for name in ("mel", "commitment", "codebook", "adversarial", "feature_matching", "usage")}
    assert names | {"discriminator/loss", "discriminator/accuracy"} <= set(metrics[0])
    assert all(np.isfinite(value).all() for found in metrics for value in found.values())
    mels = [float(found["codes/mel"]) for found in metrics]
    assert np.mean(mels[-5:]) < 0.7 * mels[0]
    audio = tones(1000, 4 * SAMPLE_RATE)  # which it has not been trained on
    heard = [one.decode(one.encode(iter([audio]))["codes"], "codes")[: len(audio)] for one in (before, after)]
    untrained, learned = (mel_distance(audio, sound) for sound in heard)
    assert learned < 0.75 * untrained
    # Of all clips: how many codes a single batch happens to use swings by a factor of two from step to step.
    codes_before, codes_after = (num_codes(one, 16) for one in (before, after))
    assert all(codes_after > 1), "no codebook has collapsed"
    assert codes_after.sum() > 2 * codes_before.sum()


@pytest.fixture(scope="module")
def prior(trained, tiny_audio_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dac") / "codes"
    return tiny_priors.of_codes(trained[1], tiny_audio_dataset, folder, CONTEXT)


def test_a_prior_on_its_codes_is_sampled_and_heard(trained, prior):
    model, tokenizer = prior.config, trained[1]
    assert (model.num_codebooks, model.num_codes, model.vqvae) == (3, 16, tokenizer.fingerprint)
    seconds = 2 * CONTEXT * tiny_dac.HOP / SAMPLE_RATE
    request = requests.Request(seconds=seconds, num_samples=2, seed=3, batch_size=2)
    codes = hierarchy.sample_codes(tokenizer.layout, {"codes": prior}, request)["codes"]
    assert codes.shape == (2, 2 * CONTEXT, 3) and codes.max() < 16
    assert tokenizer.decode(codes[0], "codes").shape == (2 * CONTEXT * tiny_dac.HOP,)


def test_a_discriminator_is_no_part_of_the_tokenizer(run, trained):
    assert set(trained[1]._weights[0]) == {"codes"}
    built = adversarial.functional(run, network=dac.DAC)
    assert set(built.abstract_params) == {"codes", "discriminator"}
