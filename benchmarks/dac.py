"""How much audio a second does the Descript Audio Codec encode and decode, and how does torch compare?

    python -m benchmarks.dac --scale=44khz --seconds=1 --threads=2 --peer

Prints one JSON line each for encoding and decoding, with random weights, the same on both sides. The peer is the
Descript Audio Codec of transformers, in a process of its own, on the same threads; it needs the extra `parity`. Both
run by turns, so that a busy machine slows them alike.
"""

import importlib.metadata
import json
import pathlib
import sys
from typing import Any

import jax
import numpy as np
from absl import flags
from flax import nnx

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values, sides, timing
from configs import dac as dac_configs
from musicgen_jax import config, kinds
from musicgen_jax.command_line import cli
from musicgen_jax.nn import modules
from musicgen_jax.runtime import allocator
from musicgen_jax.tokenizers.dac import dac_tokenizer

_SCALE = flags.DEFINE_enum("scale", "44khz", list(dac_configs.SCALES), "Sizes, of configs/dac.py.")
_SECONDS = flags.DEFINE_float("seconds", 1.0, "Of the audio, which is encoded and decoded at once.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Recordings at a time.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed runs; figures are their medians.")
_THREADS = flags.DEFINE_integer("threads", 0, "CPUs to use, on both sides; 0 is all that the process may use.")
_PEER = flags.DEFINE_bool("peer", False, "Also time transformers' codec.")


def main() -> None:
    """Flags -> JSON lines."""
    flag_values.require_positive(_ROUNDS, _BATCH_SIZE)
    config.require(_SECONDS.value > 0, f"--seconds={_SECONDS.value}: must be above 0")
    timing.limit_threads(_THREADS.value)
    allocator.keep_memory()
    model = dac_configs.get_config(f"scale={_SCALE.value}").model
    frames = max(1, round(_SECONDS.value * model.sample_rate / model.hop_length))
    programs = ours(model, frames)
    other_side = sides.apart(peer, model, frames) if _PEER.value else sides.NOBODY
    with other_side as (others, more):
        seconds = timing.interleaved(programs, _ROUNDS.value, others)
    audio = _BATCH_SIZE.value * frames * model.hop_length / model.sample_rate
    for direction in programs:
        value, other = audio / seconds[direction], seconds.get(f"peer {direction}")
        line = {"benchmark": f"dac {direction}", "value": value, "unit": "audio-s/s"}
        line |= {"peer": audio / other, "ratio_to_peer": other / seconds[direction]} if other else {}
        line |= {"scale": _SCALE.value, "audio_seconds": audio, "threads": _THREADS.value, **more}
        print(json.dumps(line), flush=True)


def weights(model: config.DACConfig) -> tuple[modules.Tree, modules.Tree]:
    """Random (parameters, buffers), the same in every process: kernels of variance 1 / fan-in, snakes near one."""
    functional = kinds.KINDS["dac"].functional(config.DACTraining(model=model))
    rng = np.random.default_rng(0)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if path[-1].key == "alpha":
            return np.ones(leaf.shape, np.float32)
        scale = 0.01 if len(leaf.shape) < 2 else np.prod(leaf.shape[:-1]) ** -0.5
        return np.float32(scale) * rng.standard_normal(leaf.shape, np.float32)

    params = jax.tree_util.tree_map_with_path(draw, nnx.to_pure_dict(functional.abstract_params))
    buffers = nnx.to_pure_dict(functional.abstract_buffers)
    return params, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), buffers)


def inputs(model: config.DACConfig, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """(audio float32 [B, S], codes int32 [B, T, Q]), random."""
    rng, size = np.random.default_rng(1), model.quantizer
    audio = 0.1 * rng.standard_normal((_BATCH_SIZE.value, frames * model.hop_length), np.float32)
    return audio, rng.integers(0, size.num_codes, (_BATCH_SIZE.value, frames, size.num_codebooks)).astype(np.int32)


def ours(model: config.DACConfig, frames: int) -> sides.Programs:
    """ "encode" and "decode" of audio and codes of so many frames."""
    tokenizer = dac_tokenizer.DACTokenizer(model, *jax.device_put(weights(model)))
    audio, codes = inputs(model, frames)
    encode = tokenizer.encoder(_SECONDS.value).run
    return {
        "encode": lambda: jax.block_until_ready(encode(audio)),
        "decode": lambda: jax.block_until_ready(tokenizer._decode(tokenizer._weights, codes)),
    }


def peer(model: config.DACConfig, frames: int) -> tuple[sides.Programs, dict[str, Any]]:
    """The same with transformers' `DacModel`, and which versions it is of."""
    import torch
    from transformers import DacConfig, DacModel

    from musicgen_jax.conversion import dac, weight_table

    timing.limit_threads(_THREADS.value)
    settings = dac.settings(model)
    params, buffers = weights(model)
    tensors = weight_table.to_published(dac.weights(model, original=False), {"params": params, "buffers": buffers})
    codec = DacModel(DacConfig(**{name: settings[name] for name in dac.SIZES})).eval()
    codec.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}, strict=True)
    audio, codes = (torch.from_numpy(array) for array in inputs(model, frames))
    codes = codes.long().swapaxes(1, 2)

    @torch.no_grad()
    def encode() -> None:
        codec.encode(audio[:, None])

    @torch.no_grad()
    def decode() -> None:
        codec.decode(audio_codes=codes)

    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    return {"peer encode": encode, "peer decode": decode}, {
        "peer_versions": versions,
        "torch_threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    cli.run(main)
