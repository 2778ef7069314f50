"""How fast does the VQ-VAE train and decode, how near is that to what the machine can do, and how does torch compare?

    python -m benchmarks.vqvae_step --scale=base --peer --threads=1

Prints one JSON line. `value` and `peer` are seconds of audio trained on per second, `limit` is what the step would
reach if all of it were one large matrix product (measured here, in the compute type). The peer needs the extra
`parity`. It has a process of its own, and the programs run by turns, so that a busy machine slows both sides;
`peak_bytes` is of our step alone.
"""

import functools
import importlib.metadata
import json
import math
import os
import pathlib
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values, sides, timing, vqvae_flops
from configs import vqvae as vqvae_configs
from musicgen_jax import config
from musicgen_jax.audio import spectral_losses
from musicgen_jax.command_line import cli
from musicgen_jax.runtime import allocator
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sharding import meshes
from musicgen_jax.tokenizers.adversarial import adversarial
from musicgen_jax.training import optimizer, precision, state, step

_SCALE = flags.DEFINE_enum("scale", "base", ["base", "tiny"], "Sizes, of configs/vqvae.py.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 2, "Clips of a step.")
_SECONDS = flags.DEFINE_float("seconds", 1.0, "Length of a clip, rounded down to a multiple of the top hop length.")
_STEPS = flags.DEFINE_integer("steps", 5, "Timed steps, after some that do not count; figures are their medians.")
_COMPUTE_DTYPE = flags.DEFINE_enum(
    "compute_dtype",
    "float32",
    ["float32", "bfloat16", "float16"],
    "Type of the activations; bfloat16 for accelerators.",
)
_MATMUL_SIZE = flags.DEFINE_integer("matmul_size", 2048, "Of the matrix product that stands for the machine's peak.")
_THREADS = flags.DEFINE_integer("threads", 0, "CPUs to use, on both sides; 0 is all that the process may use.")
_KEEP_MEMORY = flags.DEFINE_bool(
    "keep_memory", True, "On CPUs, keep memory between the steps of both sides, as training does."
)
_PEER = flags.DEFINE_bool("peer", False, "Also time transformers' Jukebox under torch.")


def main() -> None:
    """Flags -> one JSON line."""
    flag_values.require_positive(_BATCH_SIZE, _STEPS, _MATMUL_SIZE)
    config.require(0 < _SECONDS.value < math.inf, f"--seconds={_SECONDS.value}: must be greater than 0 and finite")
    timing.limit_threads(_THREADS.value)
    keeps_memory = _KEEP_MEMORY.value and allocator.keep_memory()
    run = vqvae_configs.get_config(f"scale={_SCALE.value}")
    hop_length = run.model.hop_length
    num_samples = int(_SECONDS.value * run.model.sample_rate) // hop_length * hop_length
    config.require(num_samples > 0, f"--seconds={_SECONDS.value}: a clip needs at least {hop_length} samples")
    spectral_losses.resolutions(num_samples)  # raises where the loss would, but before the long work
    audio = 0.1 * np.random.default_rng(0).standard_normal((_BATCH_SIZE.value, num_samples), np.float32)
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    with sides.apart(peers, run, audio, device) if _PEER.value else sides.NOBODY as (others, _):
        programs, peak_bytes = ours(run, _COMPUTE_DTYPE.value, audio)
        programs["matmul"], matmul_flops = timing.matmul(_MATMUL_SIZE.value, precision.dtype(_COMPUTE_DTYPE.value))
        seconds = timing.interleaved(programs, _STEPS.value, others)
    found = report(run, seconds, matmul_flops / seconds["matmul"], num_samples)
    print(json.dumps(found | {"peak_bytes": peak_bytes, "keeps_memory": keeps_memory}))


def ours(run: config.VQVAETraining, compute_dtype: str, audio: np.ndarray) -> tuple[sides.Programs, int]:
    """The step of `train_vqvae` and the decoding of each tier, compiled; and the peak memory of the step in bytes."""
    run.training.compute_dtype = compute_dtype
    mesh = meshes.make_mesh(config.MeshConfig(), jax.devices()[:1])
    functional = adversarial.functional(run, precision.dtype(compute_dtype))
    task = state.Task(functional, adversarial.objective(run), unit="audio-s", units_per_step=1)
    tx = optimizer.make_optimizer(run.optimizer, run.training.num_steps, task.functional.declared)
    current = state.initial_state(task, run.training, tx, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, current)
    batch = {"audio": jnp.asarray(audio)}
    train_step = step.make_train_step(task, tx, run.training, run.optimizer, shardings).lower(current, batch).compile()
    weights = jax.tree.map(jnp.copy, (current.params, current.buffers))  # the step donates its own

    def train() -> float:
        nonlocal current
        current, metrics = train_step(current, batch)
        return float(metrics["loss"])

    programs: sides.Programs = {"step": train}
    for tier, hop_length in run.model.hop_lengths.items():
        decode = jax.jit(lambda weights, codes, tier=tier: functional.bind(*weights).tier(tier).decode(codes))
        codes = jnp.asarray(random_codes(run, audio, hop_length))
        compiled = decode.lower(weights, codes).compile()
        programs[f"decode_{tier}"] = functools.partial(_decode, compiled, weights, codes)
    memory = train_step.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return programs, held + memory.temp_size_in_bytes


def _decode(compiled: Callable, weights: tuple, codes: jax.Array) -> None:
    compiled(weights, codes).block_until_ready()


def random_codes(run: config.VQVAETraining, audio: np.ndarray, hop_length: int) -> np.ndarray:
    """Codes of as much audio: int32 [B, S / hop_length, 1]."""
    shape = (audio.shape[0], audio.shape[1] // hop_length, 1)
    return np.random.default_rng(1).integers(0, run.model.quantizer.num_codes, shape, np.int32)


def peers(run: config.VQVAETraining, audio: np.ndarray, device: str) -> tuple[sides.Programs, dict[str, object]]:
    """The same programs through torch, for a process of its own; no other findings.

    Raises:
      UserError: torch or transformers is not installed, or this torch does not know the GPU.
    """
    try:
        import torch

        from benchmarks import jukebox_torch
    except ImportError as error:
        raise UserError(f"--peer: {error}; install the extra: pip install 'musicgen_jax[parity]'") from error
    config.require(device == "cpu" or torch.cuda.is_available(), "--peer: JAX uses a GPU that this torch cannot")
    if _KEEP_MEMORY.value:
        allocator.keep_memory()
    if _THREADS.value:
        torch.set_num_threads(_THREADS.value)
    peer = jukebox_torch.Peer(run, getattr(torch, _COMPUTE_DTYPE.value), device)
    programs: sides.Programs = {"peer_step": functools.partial(peer.step, torch.from_numpy(audio).to(device))}
    for tier, hop_length in run.model.hop_lengths.items():
        codes = torch.from_numpy(random_codes(run, audio, hop_length)[..., 0]).long().to(device)
        programs[f"peer_decode_{tier}"] = functools.partial(peer.decode, tier, codes)
    return programs, {}


def report(
    run: config.VQVAETraining, seconds: dict[str, float], peak_flops: float, num_samples: int
) -> dict[str, object]:
    """The line's keys from the median seconds of each program and the measured operations per second."""
    flops = vqvae_flops.step_flops(run.model, _BATCH_SIZE.value, num_samples)
    audio_seconds = _BATCH_SIZE.value * num_samples / run.model.sample_rate
    peer = audio_seconds / seconds["peer_step"] if _PEER.value else None
    decoding = {}
    for tier in run.model.streams:
        decoding[tier] = {"times_real_time": audio_seconds / seconds[f"decode_{tier}"]}
        if _PEER.value:
            decoding[tier]["peer"] = audio_seconds / seconds[f"peer_decode_{tier}"]
            decoding[tier]["ratio_to_peer"] = seconds[f"peer_decode_{tier}"] / seconds[f"decode_{tier}"]
    value, limit = audio_seconds / seconds["step"], audio_seconds * peak_flops / flops
    return {
        "benchmark": "vqvae_step",
        "value": value,
        "unit": "audio-s/s",
        "peer": peer,
        "ratio_to_peer": value / peer if peer else None,
        "limit": limit,
        "share_of_limit": value / limit,
        "step_seconds": seconds["step"],
        "audio_seconds_per_second": value,
        "decoding": decoding,
        "step_flops": flops,
        "matmul_flops_per_second": peak_flops,
        "scale": _SCALE.value,
        "batch_size": _BATCH_SIZE.value,
        "clip_samples": num_samples,
        "dtype": _COMPUTE_DTYPE.value,
        "device": jax.devices()[0].device_kind,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": versions(("jax", "flax", "torch", "transformers") if _PEER.value else ("jax", "flax")),
    }


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed version of each."""
    return {name: importlib.metadata.version(name) for name in packages}


if __name__ == "__main__":
    cli.run(main)
