"""How fast does EnCodec encode and decode, how near is that to what the machine can do, and how does torch compare?

    python -m benchmarks.encodec --peer

Prints one JSON line. `value` and `peer` are seconds of audio encoded per second, `limit` is what encoding would reach
if all of it were one large matrix product, measured here; `decoding` has the same of decoding. The peer needs the extra
`parity`. It has a process of its own and the same weights, and the programs run by turns, so that a busy machine slows
both sides.
"""

import json
import math
import os
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values, sides, timing
from configs import encodec as configs
from musicgen_jax import config, kinds
from musicgen_jax.command_line import cli
from musicgen_jax.nn import flops, modules
from musicgen_jax.runtime import allocator
from musicgen_jax.runtime.errors import UserError

_SCALE = flags.DEFINE_enum("scale", "32khz", ["32khz", "24khz", "tiny"], "Sizes, of configs/encodec.py.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Clips that are encoded together.")
_SECONDS = flags.DEFINE_float("seconds", 10.0, "Length of a clip, rounded down to whole frames.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Timed rounds, after some that do not count; figures are their medians.")
_MATMUL_SIZE = flags.DEFINE_integer("matmul_size", 2048, "Of the matrix product that stands for the machine's peak.")
_THREADS = flags.DEFINE_integer("threads", 0, "CPUs to use, on both sides; 0 is all that the process may use.")
_PEER = flags.DEFINE_bool("peer", False, "Also time transformers' EnCodec under torch.")


def main() -> None:
    """Flags -> one JSON line."""
    flag_values.require_positive(_BATCH_SIZE, _ROUNDS, _MATMUL_SIZE)
    config.require(0 < _SECONDS.value < math.inf, f"--seconds={_SECONDS.value}: must be greater than 0 and finite")
    timing.limit_threads(_THREADS.value)
    allocator.keep_memory()
    model = configs.get_config(f"scale={_SCALE.value}").model
    num_samples = int(_SECONDS.value * model.sample_rate) // model.hop_length * model.hop_length
    config.require(num_samples > 0, f"--seconds={_SECONDS.value}: a clip needs at least {model.hop_length} samples")
    audio = 0.1 * np.random.default_rng(0).standard_normal((_BATCH_SIZE.value, num_samples), np.float32)
    with sides.apart(peers, model, audio) if _PEER.value else sides.NOBODY as (others, made):
        programs, ours = programs_of(model, audio)
        programs["matmul"], matmul_flops = timing.matmul(_MATMUL_SIZE.value, jnp.float32)
        seconds = timing.interleaved(programs, _ROUNDS.value, others)
    peak = matmul_flops / seconds["matmul"]
    encoding, decoding = (
        _figures(name, seconds, audio.size / model.sample_rate, ours["flops"][name], peak)
        for name in ("encode", "decode")
    )
    found = {"benchmark": "encodec", "unit": "audio-s/s", **encoding, "decoding": decoding}
    if _PEER.value:
        found["different_codes"] = float(np.mean(ours["codes"] != made["codes"]))
        found["largest_difference"] = float(np.abs(ours["audio"] - made["audio"]).max())
    about = {"scale": _SCALE.value, "batch_size": _BATCH_SIZE.value, "clip_samples": num_samples}
    machine = {"matmul_flops_per_second": peak, "device": jax.devices()[0].device_kind, "cpus": _num_cpus()}
    print(json.dumps(found | about | machine))


def weights_of(model: config.EncodecConfig) -> tuple[modules.Functional, modules.Tree]:
    """The module and initial weights of a seed, the codebooks as wide as the latents are."""
    run = config.EncodecTraining(model=model)
    functional = kinds.of(run).functional(run)
    params, buffers = jax.device_get(jax.jit(functional.init)(jax.random.key(0)))
    buffers = jax.tree.map(lambda array: 0.1 * array, buffers)
    return functional, {"params": params, "buffers": buffers}


def programs_of(model: config.EncodecConfig, audio: np.ndarray) -> tuple[sides.Programs, dict[str, Any]]:
    """Encoding and decoding, compiled, with their operations, and the codes and the audio that they make."""
    functional, tree = weights_of(model)
    weights = jax.device_put((tree["params"], tree["buffers"]))
    encode = jax.jit(lambda weights, audio: functional.bind(*weights).tier("codes").encode(audio))
    decode = jax.jit(lambda weights, codes: functional.bind(*weights).tier("codes").decode(codes))
    clips = jnp.asarray(audio)
    codes = encode(weights, clips)
    counted = {
        "encode": flops.traced_flops(encode, weights, clips),
        "decode": flops.traced_flops(decode, weights, codes),
    }
    made = {"codes": np.asarray(codes), "audio": np.asarray(decode(weights, codes)), "flops": counted}
    programs: sides.Programs = {
        "encode": lambda: encode(weights, clips).block_until_ready(),
        "decode": lambda: decode(weights, codes).block_until_ready(),
    }
    return programs, made


def peers(model: config.EncodecConfig, audio: np.ndarray) -> tuple[sides.Programs, dict[str, Any]]:
    """The same through torch, for a process of its own, and what it makes.

    Raises:
      UserError: torch or transformers is not installed.
    """
    try:
        import torch

        from benchmarks import encodec_torch
    except ImportError as error:
        raise UserError(f"--peer: {error}; install the extra: pip install 'musicgen_jax[parity]'") from error
    if _THREADS.value:
        torch.set_num_threads(_THREADS.value)
    allocator.keep_memory()
    peer = encodec_torch.Peer(model, weights_of(model)[1])
    codes = peer.encode(audio)
    programs = {"peer_encode": lambda: peer.encode(audio), "peer_decode": lambda: peer.decode(codes)}
    return programs, {"codes": codes, "audio": peer.decode(codes)}


def _figures(
    name: str, seconds: dict[str, float], audio_seconds: float, operations: float, peak: float
) -> dict[str, Any]:
    value, limit = audio_seconds / seconds[name], audio_seconds * peak / operations
    peer = audio_seconds / seconds[f"peer_{name}"] if _PEER.value else None
    ratio = value / peer if peer else None
    shares = {"limit": limit, "share_of_limit": value / limit, "flops": operations}
    return {"value": value, "peer": peer, "ratio_to_peer": ratio, **shares, "seconds": seconds[name]}


def _num_cpus() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


if __name__ == "__main__":
    cli.run(main)
