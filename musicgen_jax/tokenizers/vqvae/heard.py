"""What a tokenizer that is being trained makes of held-out clips, to be heard in TensorBoard."""

import dataclasses
import math
from collections.abc import Callable

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.data import audio_dataset
from musicgen_jax.nn import modules
from musicgen_jax.sharding import meshes
from musicgen_jax.training import state

SECONDS, NUM_CLIPS = 4.0, 3


def held_out(
    functional: modules.Functional, run: config.VQVAETraining, mesh: jax.sharding.Mesh
) -> Callable[[state.TrainState], dict[str, tuple[np.ndarray, int]]]:
    """(state of the module `functional`) -> {"clip_0/original", "clip_0/STREAM", ...: (float32 [S], sample rate)}, the
    same clips every time; UserError without a validation split.

    Every process calls it: the clips are divided over the devices, and all of them get all the sounds.
    """
    rate, hop, ways = run.model.sample_rate, run.model.hop_length, meshes.batch_ways(mesh)
    num_samples = math.ceil(SECONDS * rate / hop) * hop
    data = dataclasses.replace(run.data, batch_size=math.ceil(NUM_CLIPS / ways) * ways)
    batches = audio_dataset.validation_batches(run.data.path, num_samples, data, 1, mesh)

    @jax.jit(out_shardings=jax.sharding.NamedSharding(mesh, jax.P()))
    def reconstruct(params: modules.Tree, buffers: modules.Tree, audio: jax.Array) -> dict[str, jax.Array]:
        model = functional.bind(params, buffers)
        return {"original": audio} | model.decode(model.encode(audio))

    def sounds(now: state.TrainState) -> dict[str, tuple[np.ndarray, int]]:
        found = {}
        for batch in batches():
            heard = jax.device_get(reconstruct(now.inference_params(), now.buffers, batch["audio"]))
            for clip in range(min(NUM_CLIPS, len(batch["audio"]))):
                found |= {f"clip_{clip}/{name}": (heard[name][clip], rate) for name in ("original", *run.model.streams)}
        config.require(bool(found), f"{run.data.path} has no validation split that is long enough to be heard")
        return found

    return sounds
