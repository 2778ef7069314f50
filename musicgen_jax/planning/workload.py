"""What a config trains, without its data: stand-ins for what only the data knows, and the shapes of a batch.

The stand-ins are sizes of the founding tokenizer and of a large collection: codebooks of 2048 entries, hops 128, 32 and
8 at 44.1 kHz, 64 genres and 1024 artists (the two tables are all that depends on them), tracks of four minutes.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from musicgen_jax import config
from musicgen_jax.codes import layout
from musicgen_jax.diffusion import code_task
from musicgen_jax.nn import modules
from musicgen_jax.planning import flops
from musicgen_jax.priors import prior
from musicgen_jax.sharding import rules
from musicgen_jax.tokenizers.vqvae import vqvae_task
from musicgen_jax.training import state

LAYOUT = layout.Layout(
    44_100,
    1,
    (
        layout.Stream("top", 128, 1, 2048),
        layout.Stream("middle", 32, 1, 2048, above="top"),
        layout.Stream("bottom", 8, 1, 2048, above="middle"),
    ),
    "stand-in",
)
NUM_GENRES, NUM_ARTISTS = 64, 1024
TRACK_SECONDS = 240.0

Run = config.PriorTraining | config.VQVAETraining


@dataclasses.dataclass(frozen=True)
class Workload:
    """One training step.

    Attributes:
      run: the config, with stand-ins.
      task: model and loss.
      axis_rules: layout on a mesh.
      batch: ShapeDtypeStructs of the global batch.
      flops: of a step.
      tokens: what a step trains on, in codes; samples of audio for a VQ-VAE.
    """

    run: Run
    task: state.Task
    axis_rules: rules.AxisRules
    batch: dict[str, jax.ShapeDtypeStruct]
    flops: flops.StepFlops
    tokens: int


def resolve(model: config.PriorConfig) -> config.PriorConfig:
    """The prior's config with stand-ins for what `code_dataset.resolve` would read from codes."""
    stream = LAYOUT.stream(model.tier)
    resolved = dataclasses.replace(
        model,
        above=stream.above,
        upsampling=LAYOUT.upsampling(model.tier),
        codes_per_second=LAYOUT.frames_per_second(model.tier),
        vqvae=LAYOUT.fingerprint,
        track_seconds=TRACK_SECONDS,
        genres=tuple(f"genre{index}" for index in range(NUM_GENRES)),
        artists=tuple(f"artist{index}" for index in range(NUM_ARTISTS)),
    )
    resolved.validate()
    return resolved


def workload(run: Run) -> Workload:
    """The step that `run` trains with.

    Raises:
      UserError: a config that its own validation refuses.
    """
    # No data is read, so any path will do.
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, path=run.data.path or "stand-in"))
    run.validate()
    return _prior(run) if isinstance(run, config.PriorTraining) else _vqvae(run)


def _prior(run: config.PriorTraining) -> Workload:
    run = dataclasses.replace(run, model=resolve(run.model))
    model, batch_size = run.model, run.data.batch_size
    axis_rules = prior.axis_rules(run)
    task = code_task.code_task(run, axis_rules)
    shapes: dict[str, Any] = {"codes": (model.context, model.num_codebooks), "mask": (model.context,)}
    shapes |= dict.fromkeys(("genre", "artist", "start", "length"), ())
    if model.upsampling:
        shapes["above"] = (model.context // model.upsampling, model.num_codebooks)
    batch = {
        name: jax.ShapeDtypeStruct((batch_size, *shape), jnp.bool_ if name == "mask" else jnp.int32)
        for name, shape in shapes.items()
    }
    step_flops = flops.prior_step_flops(model, batch_size)
    return Workload(run, task, axis_rules, batch, step_flops, batch_size * model.context)


def _vqvae(run: config.VQVAETraining) -> Workload:
    batch_size = run.data.batch_size
    task = vqvae_task.vqvae_task(run)
    batch = {"audio": jax.ShapeDtypeStruct((batch_size, run.clip_samples), jnp.float32)}

    def forward(params: modules.Tree, buffers: modules.Tree, audio: jax.Array, key: jax.Array) -> jax.Array:
        return task.loss(task.functional.bind(params, buffers), {"audio": audio}, key, True)[0]

    abstract = jax.eval_shape(task.functional.init, jax.random.key(0))
    one = jax.ShapeDtypeStruct((1, run.clip_samples), jnp.float32)
    counted = flops.traced_flops(forward, *abstract, one, jax.random.key(0))
    # The backward pass has two products for each of the forward pass.
    step_flops = flops.StepFlops(model=3 * counted * batch_size, recomputed=0.0)
    return Workload(run, task, rules.AxisRules(), batch, step_flops, batch_size * run.clip_samples)
