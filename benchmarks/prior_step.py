"""How fast does a prior train, how near is that to what the machine can do, and how does torch compare?

    python -m benchmarks.prior_step --scale=small --context=1024 --batch_size=1 --peer --threads=1

Prints one JSON line. `value` and `peer` are codes trained on per second, `limit` is what the step would reach if all
that its mathematics asks for were one large matrix product (measured here, in the compute type): `share_of_limit` is
the share of peak. The peer, a torch GPT of the same shape with relative attention, needs the extra `parity`. It has a
process of its own, and steps by turns with ours, so that a busy machine slows both sides; `peak_bytes` is of our step
alone. Neither side keeps a moving average of the parameters.
"""

import functools
import importlib.metadata
import json
import os
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values, sides, timing
from configs import prior as prior_configs
from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.nn import modules
from musicgen_jax.priors import flops, loss, prior
from musicgen_jax.runtime import allocator
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sharding import meshes, rules
from musicgen_jax.training import optimizer, precision, state, step

_SCALE = flags.DEFINE_enum("scale", "small", ["tiny", "small", "1b", "5b"], "Sizes, of configs/prior.py.")
_CONTEXT = flags.DEFINE_integer("context", 0, "Codes of a window; 0 is the scale's own.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Windows of a step.")
_STEPS = flags.DEFINE_integer("steps", 5, "Timed steps, after some that do not count; figures are their medians.")
_COMPUTE_DTYPE = flags.DEFINE_enum(
    "compute_dtype", "float32", ["float32", "bfloat16"], "Type of the activations; bfloat16 for accelerators."
)
_REMAT = flags.DEFINE_enum("remat", "none", config.REMAT, "What the backward pass computes again.")
_ATTENTION = flags.DEFINE_enum("attention", "blocked", config.ATTENTIONS, "Back end of relative attention.")
_LOSS_CHUNK = flags.DEFINE_integer("loss_chunk", 0, "Codes whose logits the loss holds at a time; 0 is all of them.")
_MATMUL_SIZE = flags.DEFINE_integer("matmul_size", 2048, "Of the matrix product that stands for the machine's peak.")
_THREADS = flags.DEFINE_integer("threads", 0, "CPUs to use, on both sides; 0 is all that the process may use.")
_PEER = flags.DEFINE_bool("peer", False, "Also time a torch GPT of the same shape.")


def main() -> None:
    """Flags -> one JSON line."""
    flag_values.require_positive(_BATCH_SIZE, _STEPS, _MATMUL_SIZE)
    timing.limit_threads(_THREADS.value)
    allocator.keep_memory()
    run = settings()
    codes = np.random.default_rng(0).integers(0, run.model.num_codes, (_BATCH_SIZE.value, run.model.context), np.int32)
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    with sides.apart(peer, run, codes, device) if _PEER.value else sides.NOBODY as (others, more):
        programs, found = ours(run, codes)
        programs["matmul"], matmul_flops = timing.matmul(_MATMUL_SIZE.value, precision.dtype(_COMPUTE_DTYPE.value))
        seconds = timing.interleaved(programs, _STEPS.value, others)
    print(json.dumps(report(run, seconds, matmul_flops / seconds["matmul"]) | found | more))


def settings() -> config.PriorTraining:
    """The config of the flags, for the top tier: the one that the peer has all parts of."""
    run = prior_configs.get_config(f"tier=top,scale={_SCALE.value}")
    model = run.model
    model.context = _CONTEXT.value or model.context
    model.loss_chunk = _LOSS_CHUNK.value
    model.transformer.remat, model.transformer.attention = _REMAT.value, _ATTENTION.value
    model.codes_per_second = 344.5
    run.data.path, run.data.batch_size = "none is read", _BATCH_SIZE.value
    run.training.compute_dtype, run.training.ema_decay = _COMPUTE_DTYPE.value, 0.0
    run.validate()
    return run


def ours(run: config.PriorTraining, codes: np.ndarray) -> tuple[sides.Programs, dict[str, object]]:
    """The step of `train_prior`, compiled; and its peak memory in bytes and number of parameters."""
    mesh, axis_rules = meshes.make_mesh(config.MeshConfig(), jax.devices()[:1]), rules.AxisRules()
    dtype = precision.dtype(_COMPUTE_DTYPE.value)
    task = state.Task(
        functional=modules.Functional(lambda rngs: prior.Prior(run.model, axis_rules, dtype=dtype, rngs=rngs)),
        loss=lambda model, batch, key, train: loss.prior_loss(model, batch, key if train else None),
        unit="codes",
        units_per_step=codes.size,
        weight=loss.num_losses,
    )
    tx = optimizer.make_optimizer(run.optimizer, run.training.num_steps, task.functional.declared)
    current = state.initial_state(task, run.training, tx, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, current)
    rows = jnp.zeros(codes.shape[0], jnp.int32)
    batch = {"codes": jnp.asarray(codes)[..., None], "mask": jnp.ones(codes.shape, jnp.bool_)}
    batch |= {"labels": rows[:, None][:, :0], "start": rows, "length": rows + codes.shape[1]}
    train_step = step.make_train_step(task, tx, run.training, run.optimizer, shardings).lower(current, batch).compile()

    def train() -> float:
        nonlocal current
        current, metrics = train_step(current, batch)
        return float(metrics["loss"])

    memory = train_step.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    found = {"peak_bytes": held + memory.temp_size_in_bytes, "parameters": task.functional.num_parameters()}
    return {"step": train}, found


def peer(run: config.PriorTraining, codes: np.ndarray, device: str) -> tuple[sides.Programs, dict[str, object]]:
    """The same step through torch, for a process of its own; and its number of parameters.

    Raises:
      UserError: torch is not installed, or this torch does not know the GPU.
    """
    try:
        import torch

        from benchmarks import gpt_torch
    except ImportError as error:
        raise UserError(f"--peer: {error}; install the extra: pip install 'musicgen_jax[parity]'") from error
    config.require(device == "cpu" or torch.cuda.is_available(), "--peer: JAX uses a GPU that this torch cannot")
    allocator.keep_memory()
    if _THREADS.value:
        torch.set_num_threads(_THREADS.value)
    model = gpt_torch.Peer(run, getattr(torch, _COMPUTE_DTYPE.value), device)
    programs = {"peer_step": functools.partial(model.step, torch.from_numpy(codes).long().to(device))}
    return programs, {"peer_parameters": model.num_parameters()}


def report(run: config.PriorTraining, seconds: dict[str, float], peak_flops: float) -> dict[str, object]:
    """The line's keys from the median seconds of each program and the measured operations per second."""
    step_flops = flops.prior_step_flops(run.model, _BATCH_SIZE.value).model
    num_codes = _BATCH_SIZE.value * run.model.context
    value, limit = num_codes / seconds["step"], num_codes * peak_flops / step_flops
    other = num_codes / seconds["peer_step"] if _PEER.value else None
    return {
        "benchmark": "prior_step",
        "value": value,
        "unit": "codes/s",
        "peer": other,
        "ratio_to_peer": value / other if other else None,
        "limit": limit,
        "share_of_limit": value / limit,
        "step_seconds": seconds["step"],
        "step_flops": step_flops,
        "matmul_flops_per_second": peak_flops,
        "scale": _SCALE.value,
        "context": run.model.context,
        "batch_size": _BATCH_SIZE.value,
        "remat": _REMAT.value,
        "attention": _ATTENTION.value,
        "loss_chunk": _LOSS_CHUNK.value,
        "dtype": _COMPUTE_DTYPE.value,
        "device": jax.devices()[0].device_kind,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": {
            name: importlib.metadata.version(name) for name in ("jax", "flax", *(("torch",) if _PEER.value else ()))
        },
    }


if __name__ == "__main__":
    cli.run(main)
