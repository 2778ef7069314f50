"""A stream of several codebooks through the rooms: trained, extracted, modelled with delay, sampled and judged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors
import tiny_runs
from conftest import SAMPLE_RATE

from musicgen_jax import config, kinds
from musicgen_jax.codes import code_dataset
from musicgen_jax.evaluation import prior_likelihood
from musicgen_jax.priors import loss
from musicgen_jax.sampling import hierarchy, prompts, requests, sampler_settings
from musicgen_jax.sharding import meshes
from musicgen_jax.tokenizers.vqvae import vqvae_tokenizer

pytestmark = pytest.mark.long

HOP, NUM_CODEBOOKS, CONTEXT = 32, 3, 16


@pytest.fixture(scope="module")
def run() -> config.ResidualVQVAETraining:
    made = config.ResidualVQVAETraining(
        model=tiny_runs.residual_config(),
        clip_samples=tiny_runs.CLIP_SAMPLES,
        data=config.DataConfig(path="x", batch_size=tiny_runs.BATCH_SIZE),
    )
    made.validate()
    return made


@pytest.fixture(scope="module")
def trained(run) -> tuple[vqvae_tokenizer.VQVAETokenizer, list[dict[str, jax.Array]]]:
    """(the tokenizer after a few steps, metrics of each)."""
    training = config.TrainingConfig(num_steps=30)
    mesh = meshes.make_mesh(config.MeshConfig(), jax.devices()[:1])
    settings = config.OptimizerConfig(peak_learning_rate=1e-2)
    current, train_step = tiny_runs.start(kinds.task(run), training, mesh, settings)
    metrics = []
    for index in range(training.num_steps):
        current, found = train_step(current, tiny_runs.vqvae_batch(index))
        metrics.append(jax.device_get(found))
    weights = jax.device_get((current.params, current.buffers))
    return vqvae_tokenizer.VQVAETokenizer(run.model, *weights), metrics


def test_training_lowers_the_loss_and_uses_every_codebook(trained):
    _, metrics = trained
    losses = tiny_runs.losses(metrics)
    assert np.isfinite(losses).all() and np.mean(losses[-5:]) < 0.9 * losses[0]
    assert {"residual/l2", "residual/commitment", "residual/usage", "residual/perplexity", "residual/restarts"} <= set(
        metrics[0]
    )
    assert metrics[0]["residual/restarts"] > 2 * 16  # all of them begin on the data
    assert metrics[-1]["residual/usage"] > 0.5


@pytest.fixture(scope="module")
def prior(trained, tiny_audio_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("residual") / "codes"
    return tiny_priors.of_codes(trained[0], tiny_audio_dataset, folder, CONTEXT)


def test_the_codes_say_what_they_are(trained, prior):
    model = prior.config
    assert (model.num_codebooks, model.num_codes, model.codes_per_second) == (NUM_CODEBOOKS, 16, SAMPLE_RATE / HOP)
    assert model.vqvae == trained[0].layout.fingerprint
    example = code_dataset.Windows(prior.codes_path, "train", model).window(0, 0)
    assert example["codes"].shape == (CONTEXT, NUM_CODEBOOKS) and "above" not in example


def test_the_prior_is_judged_code_by_code(prior):
    """The first window of each track, which is all that so few codes are."""
    windows = code_dataset.Windows(prior.codes_path, "validation", prior.config)
    num_tracks = len(windows.entries)
    max_codes = num_tracks * CONTEXT * NUM_CODEBOOKS
    found = prior_likelihood.evaluate_prior(prior, "validation", max_codes)
    examples = [windows.window(track, 0) for track in range(num_tracks)]
    batch = {name: jnp.asarray(np.stack([one[name] for one in examples])) for name in examples[0]}
    nats = loss.prior_loss(prior.functional.bind(*prior.weights), batch, None)[0]
    assert found["num_codes"] == max_codes and 0 < found["unigram_nats"] < np.log(16) + 0.1
    assert found["nats_per_code"] == pytest.approx(float(nats), rel=1e-4)
    assert found["seconds"] == pytest.approx(num_tracks * CONTEXT * HOP / SAMPLE_RATE)


def request(**changes) -> requests.Request:
    seconds = 2.5 * CONTEXT * HOP / SAMPLE_RATE
    return requests.Request(**{"seconds": seconds, "num_samples": 2, "seed": 3, "batch_size": 2} | changes)


def test_sampled_in_windows_and_continued_from_itself(trained, prior):
    layout = trained[0].layout
    codes = hierarchy.sample_codes(layout, {"residual": prior}, request())["residual"]
    assert codes.shape == (2, 40, NUM_CODEBOOKS) and codes.max() < 16
    assert len(np.unique(codes, axis=0)) == 2
    again = hierarchy.sample_codes(layout, {"residual": prior}, request(batch_size=1))["residual"]
    np.testing.assert_array_equal(again, codes)
    start = prompts.Prompt("its own beginning", {"residual": codes[:, :7]}, 7 * HOP / SAMPLE_RATE)
    short = request(seconds=CONTEXT * HOP / SAMPLE_RATE)
    whole = hierarchy.sample_codes(layout, {"residual": prior}, short)["residual"]
    continued = requests.Request(**vars(short) | {"mode": "continue"})
    np.testing.assert_array_equal(
        hierarchy.sample_codes(layout, {"residual": prior}, continued, start)["residual"], whole
    )
    assert trained[0].decode(codes[0], "residual").shape == (40 * HOP,)


def test_greedy_codes_are_the_argmax_of_the_full_pass(trained, prior):
    greedy = request(seconds=CONTEXT * HOP / SAMPLE_RATE, settings=sampler_settings.SamplingSettings(top_k=1))
    codes = hierarchy.sample_codes(trained[0].layout, {"residual": prior}, greedy)["residual"]
    rows = jnp.zeros(2, jnp.int32)
    length = rows + round(greedy.told_seconds(prior) * prior.config.codes_per_second)
    batch = {"codes": jnp.asarray(codes), "labels": jnp.zeros((2, 2), jnp.int32), "start": rows, "length": length}
    logits = jax.jit(lambda weights, batch: prior.functional.bind(*weights)(batch))(prior.weights, batch)
    np.testing.assert_array_equal(codes, np.argmax(logits, axis=-1))
