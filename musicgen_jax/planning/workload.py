"""What a config trains, without its data: stand-ins for what only the data knows, and the shapes of a batch.

The stand-ins are sizes of the founding tokenizer and of a large collection: codebooks of 2048 entries, hops 128, 32 and
8 at 44.1 kHz, 64 genres and 1024 artists (the two tables are all that depends on them), tracks of four minutes.
"""

import dataclasses
import math

from musicgen_jax import config, kinds
from musicgen_jax.codes import layout
from musicgen_jax.nn import flops
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
      task: model and loss, layout and shapes of a batch.
      flops: of a step.
      tokens: what a step trains on, in codes; samples of audio for a tokenizer.
    """

    run: Run
    task: state.Task
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
    data = kinds.of(run).data
    if data == "codes":
        run = dataclasses.replace(run, model=resolve(run.model))
    task = kinds.task(run)
    tokens = math.prod(task.batch[data].shape)
    return Workload(run, task, task.flops(), tokens)
