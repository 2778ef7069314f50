"""What all quantizers promise: the same methods, the same result on eight devices and after a restart, and learning."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_runs
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.quantizers.quantizer import make
from musicgen_jax.sharding import meshes
from musicgen_jax.tokenizers.vqvae import vqvae
from musicgen_jax.training import checkpointing, optimizer, precision, state, step

KINDS = ("ema", "gradient", "normalized", "fsq", "residual")
TIER = config.TierConfig(downsampling=(1,), width=8, depth=1)
OPTIMIZER = config.OptimizerConfig(peak_learning_rate=1e-2, weight_decay=0.01)
TRAINING = config.TrainingConfig(num_steps=100, ema_decay=0.9)


def settings(kind: str) -> config.QuantizerConfig:
    several = {"kind": "ema", "num_codebooks": 2, "codebook_dropout": 0.3}
    made = config.QuantizerConfig(
        **several if kind == "residual" else {"kind": kind},
        num_codes=60, code_width=6, ema_decay=0.9, lookup_width=3, fsq_levels=(5, 4, 3),
    )  # fmt: skip
    made.validate()
    return made


@functools.cache
def task(kind: str, compute_dtype: str = "float32") -> state.Task:
    """One tier of hop 2 with the waveform, commitment and codebook terms."""
    dtype = precision.dtype(compute_dtype)
    model_config = config.VQVAEConfig(top=TIER, quantizer=settings(kind))
    build = lambda rngs: vqvae.TierVQVAE(model_config, "top", dtype=dtype, rngs=rngs)  # noqa: E731

    def loss(model, batch, key, train):
        latents = model.encoder(batch["audio"])
        found = model.quantizer(latents, key if train else None)
        error = jnp.mean((batch["audio"] - model.decoder(found.latents)) ** 2) / jnp.mean(batch["audio"] ** 2)
        total = error + 0.25 * found.commitment_loss + (0 if found.codebook_loss is None else found.codebook_loss)
        metrics = model.quantizer.update(latents, found.codes, key) if train else {}
        return total, metrics | {"error": error}

    return state.Task(modules.Functional(build), loss, "audio-s", 1)


@functools.cache
def tx(kind: str) -> optax.GradientTransformation:
    return optimizer.make_optimizer(OPTIMIZER, TRAINING.num_steps, task(kind).functional.declared)


@functools.cache
def train_step(kind: str, compute_dtype: str = "float32") -> Callable:
    found = task(kind, compute_dtype)
    shardings = state.state_shardings(abstract(kind, one_device()), found, one_device())
    return step.make_train_step(found, tx(kind), TRAINING, OPTIMIZER, shardings)


def abstract(kind: str, mesh: jax.sharding.Mesh) -> state.TrainState:
    return state.abstract_state(task(kind), TRAINING, tx(kind), mesh)


@functools.cache
def initial(kind: str) -> state.TrainState:
    """As NumPy arrays."""
    made = state.initial_state(task(kind), TRAINING, tx(kind), one_device())
    return jax.tree.map(np.asarray, made)


def one_device() -> jax.sharding.Mesh:
    return meshes.make_mesh(config.MeshConfig(), jax.devices()[:1])


def equal(a, b) -> bool:
    """Whether two trees have the same structure and the same bits."""
    return jax.tree.all(jax.tree.map(lambda x, y: np.asarray(x).tobytes() == np.asarray(y).tobytes(), a, b))


def on(mesh: jax.sharding.Mesh, kind: str, values: state.TrainState) -> state.TrainState:
    """A copy on the devices of a mesh: the step donates its input."""
    return jax.tree.map(lambda x, leaf: jax.device_put(np.array(x), leaf.sharding), values, abstract(kind, mesh))


def batch(index: int) -> dict[str, np.ndarray]:
    return {"audio": tiny_runs.vqvae_batch(index)["audio"][:, :256]}


@pytest.mark.parametrize("kind", KINDS)
def test_codes_latents_and_codebook_agree(kind):
    quantizer = make(settings(kind), rngs=nnx.Rngs(0))
    latents = np.random.default_rng(0).standard_normal((3, 50, 6)).astype(np.float32)

    quantized = quantizer(latents)
    num_codebooks = settings(kind).num_codebooks
    assert quantized.codes.dtype == jnp.int32 and quantized.codes.shape == (3, 50, num_codebooks)
    assert quantized.latents.dtype == jnp.float32 and quantized.latents.shape == (3, 50, 6)
    assert len(np.unique(quantized.codes)) > 10 and int(quantized.codes.max()) < 60
    np.testing.assert_array_equal(quantizer.encode(latents), quantized.codes)
    np.testing.assert_allclose(quantizer.decode(quantized.codes), quantized.latents, atol=1e-5)
    entries = quantizer.codebook()
    assert entries.shape == (num_codebooks, 60, 6)
    summed = sum(entries[q][quantized.codes[..., q]] for q in range(num_codebooks))
    np.testing.assert_allclose(summed, quantized.latents, atol=1e-5)
    np.testing.assert_allclose(quantized.latent_power, (latents**2).mean(), rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_eight_devices_equal_one(kind):
    mesh = meshes.make_mesh(config.MeshConfig(data=4, fsdp=2), jax.devices()[:8])
    shardings = state.state_shardings(abstract(kind, mesh), task(kind), mesh)
    sharded_step = step.make_train_step(task(kind), tx(kind), TRAINING, OPTIMIZER, shardings)
    one, eight = (on(m, kind, initial(kind)) for m in (one_device(), mesh))
    for index in range(3):
        one, _ = train_step(kind)(one, batch(index))
        with jax.set_mesh(mesh):
            eight, _ = sharded_step(eight, jax.device_put(batch(index), meshes.batch_sharding(mesh)))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    jax.tree.map(close, eight.buffers, one.buffers)
    jax.tree.map(close, *(x.params.get("quantizer", {}) for x in (eight, one)))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(kind, tmp_path):
    current, model_config = on(one_device(), kind, initial(kind)), {"kind": kind}
    for index in range(3):
        current, _ = train_step(kind)(current, batch(index))
    with checkpointing.Checkpointer(tmp_path, keep=1) as checkpointer:
        checkpointer.save(current, model_config)
    with checkpointing.Checkpointer(tmp_path) as checkpointer:
        restored = checkpointer.restore(abstract(kind, one_device()), model_config)
    assert equal(restored, current)
    before = jax.tree.map(np.asarray, current.buffers)
    uninterrupted, resumed = (train_step(kind)(on(one_device(), kind, x), batch(3))[0] for x in (current, restored))
    assert equal(resumed, uninterrupted)
    # The state that is no parameter counts: it was saved, it changes at every step, and the next step depends on it.
    if kind == "ema":
        assert set(before["quantizer"]) == {"entries", "counts", "sums"}
        assert not equal(before, uninterrupted.buffers)
        forgetful = on(one_device(), kind, restored)
        forgetful.buffers["quantizer"]["counts"] *= 0.5
        assert not equal(train_step(kind)(forgetful, batch(3))[0].buffers, uninterrupted.buffers)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_training_reduces_the_error(kind):
    current, errors = on(one_device(), kind, initial(kind)), []
    for index in range(100):
        current, metrics = train_step(kind)(current, batch(index))
        errors.append(float(metrics["error"]))
    assert np.mean(errors[-10:]) < 0.4 < 0.8 < errors[0], errors[::10]
    model = task(kind).functional.bind(current.inference_params(), current.buffers)
    codes = np.concatenate([np.ravel(model.encode(batch(index)["audio"])) for index in range(3)])
    assert len(np.unique(codes)) > 0.8 * 60


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_activations_leave_the_quantizer_in_float32(kind):
    found = []
    for compute_dtype in ("bfloat16", "float32"):
        current, metrics = train_step(kind, compute_dtype)(on(one_device(), kind, initial(kind)), batch(0))
        assert np.isfinite(float(metrics["loss"])) and int(current.skipped) == 0
        found.append(jax.tree.leaves((current.params.get("quantizer", {}), current.buffers)))
    for half, full in zip(*found, strict=True):
        assert half.dtype == jnp.float32
        assert np.mean(np.abs(half - full)) < 0.1 * (np.mean(np.abs(full)) + 0.1)
