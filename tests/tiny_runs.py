"""A prior and a VQ-VAE small enough to compile in a second, with the batches to train them."""

from collections.abc import Callable

import jax
import numpy as np
import tiny_layouts

from musicgen_jax import config, kinds
from musicgen_jax.training import optimizer, precision, state, step

BATCH_SIZE = 8
CLIP_SAMPLES = 512
OPTIMIZER = config.OptimizerConfig(peak_learning_rate=3e-3, warmup_steps=2, weight_decay=0.01)


def prior_config(tier: str = "middle") -> config.PriorConfig:
    """A prior over 16 codes; sizes divide by 2, for meshes of 2 x 2 x 2."""
    return config.PriorConfig(
        tier=tier,
        context=32,
        num_codes=16,
        above=tiny_layouts.ABOVE[tier],
        upsampling=0 if tier == "top" else 4,
        codes_per_second=125.0,
        labels=("genre", "artist"),
        vocabularies={"genre": ("unknown", "flute", "organ"), "artist": ("unknown",)},
        timing_bins=4,
        transformer=config.TransformerConfig(num_layers=2, width=16, num_heads=2, head_dim=8, mlp_width=32),
        conditioner=config.ConditionerConfig(width=8, depth=2),
    )


def prior_task(model: config.PriorConfig, compute_dtype: str = "float32", shard_sequence: bool = False) -> state.Task:
    run = config.PriorTraining(
        model=model,
        data=config.DataConfig(batch_size=BATCH_SIZE),
        training=config.TrainingConfig(compute_dtype=compute_dtype),
        shard_sequence=shard_sequence,
    )
    return kinds.task(run)


def prior_batch(model: config.PriorConfig, step: int, lengths: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """Random codes; `lengths` gives the number of codes that exist in each row, all of them by default."""
    rng = np.random.default_rng(step)
    rows = np.array(lengths or (model.context,) * BATCH_SIZE)
    batch = {
        "codes": rng.integers(0, model.num_codes, (BATCH_SIZE, model.context, model.num_codebooks)).astype(np.int32),
        "mask": np.arange(model.context) < rows[:, None],
        "labels": np.pad(rng.integers(0, 3, (BATCH_SIZE, 1)), ((0, 0), (0, 1))).astype(np.int32),
        "start": np.zeros(BATCH_SIZE, np.int32),
        "length": np.full(BATCH_SIZE, 4 * model.context, np.int32),
    }
    if model.upsampling:
        shape = (BATCH_SIZE, model.context // model.upsampling, model.num_codebooks)
        batch["above"] = rng.integers(0, model.num_codes, shape).astype(np.int32)
    return batch


def vqvae_config() -> config.VQVAEConfig:
    """Three tiers of 8 channels and 16 codes."""
    sizes = {"width": 8, "depth": 1, "dilation_growth": 2}
    return config.VQVAEConfig(
        sample_rate=4000,
        top=config.TierConfig(downsampling=(3, 2, 2), **sizes),
        middle=config.TierConfig(downsampling=(3, 2), **sizes),
        bottom=config.TierConfig(downsampling=(3,), **sizes),
        quantizer=config.QuantizerConfig(num_codes=16, code_width=8),
    )


def residual_config() -> config.ResidualVQVAEConfig:
    """One stream of hop 32 at 4000 Hz, three codebooks of 16 codes."""
    return config.ResidualVQVAEConfig(
        sample_rate=4000,
        residual=config.TierConfig(downsampling=(2,), strides=(4, 8), width=8, depth=1),
        quantizer=config.QuantizerConfig(
            num_codes=16, num_codebooks=3, codebook_dropout=0.5, code_width=8, ema_decay=0.9
        ),
    )


def encodec_config() -> config.EncodecConfig:
    """Hop 8 at 4000 Hz, three codebooks of 16 codes."""
    return config.EncodecConfig(
        sample_rate=4000,
        filters=4,
        strides=(2, 4),
        lstm_layers=1,
        quantizer=config.QuantizerConfig(
            num_codes=16, num_codebooks=3, codebook_dropout=0.5, code_width=8, ema_decay=0.9
        ),
    )


def vqvae_task(
    loss: config.LossConfig | None = None, adversarial_config: config.AdversarialConfig | None = None
) -> state.Task:
    """The default objective, or another; against a discriminator where the config's weight asks for one."""
    run = config.VQVAETraining(
        model=vqvae_config(),
        clip_samples=CLIP_SAMPLES,
        data=config.DataConfig(batch_size=BATCH_SIZE),
        loss=loss or config.LossConfig(),
        adversarial=adversarial_config or config.AdversarialConfig(),
    )
    return kinds.task(run)


def vqvae_batch(step: int) -> dict[str, np.ndarray]:
    """Chords of random pitch with a little noise, [B, S]."""
    rng = np.random.default_rng(step)
    seconds = np.arange(CLIP_SAMPLES) / 4000
    hertz = rng.uniform(100, 1000, (BATCH_SIZE, 3, 1))
    noise = rng.standard_normal((BATCH_SIZE, CLIP_SAMPLES))
    audio = 0.2 * np.sin(2 * np.pi * hertz * seconds).sum(axis=1) + 0.01 * noise
    return {"audio": audio.astype(np.float32)}


def start(
    task: state.Task,
    training: config.TrainingConfig,
    mesh: jax.sharding.Mesh,
    settings: config.OptimizerConfig = OPTIMIZER,
) -> tuple[state.TrainState, Callable]:
    """(state at step 0, train step). NumPy draws the parameters: to compile the initialisation takes seconds."""
    tx = optimizer.make_optimizer(settings, training.num_steps, task.functional.declared, task.clipped_apart)
    abstract = state.abstract_state(task, training, tx, mesh)
    rng = np.random.default_rng(0)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        centre = 1.0 if path[-1].key == "scale" else 0.0
        return (centre + 0.1 * rng.standard_normal(leaf.shape)).astype(leaf.dtype)

    params = jax.tree_util.tree_map_with_path(draw, abstract.params)
    values = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
    values.params = params
    values.ema_params = params if training.ema_decay else {}
    values.loss_scale = precision.initial_loss_scale(training.compute_dtype)
    placed = jax.tree.map(lambda value, leaf: jax.device_put(np.array(value), leaf.sharding), values, abstract)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    return placed, step.make_train_step(task, tx, training, settings, shardings)


def losses(metrics: list[dict[str, jax.Array]]) -> np.ndarray:
    return np.array([float(m["loss"]) for m in metrics])
