"""How many codes a second does a prior decode, how near is that to the memory's limit, and how does torch compare?

    python -m benchmarks.decode --scale=small --batch_sizes=1,2,8
    python -m benchmarks.decode --scale=small --weights=float32,int8 --peer --threads=2

Prints one JSON line a case: a batch size with weights of one type. A step must read every weight and the keys and
values of the past once: `bytes` are these, counted at the position in the middle of the context where the timed steps
are, and `limit` is what the bandwidth, measured in the same run, would make of them. With `--peer` the cases of
`--scale` are followed by those of the shape of MusicGen's small decoder, beside that decoder itself in transformers
(random weights, cached, same threads or GPU), in a process of its own; that needs the extra `parity`. All programs of
a batch size run by turns, so that a busy machine slows all of them alike. `--aot=v5e:2x2` adds what the TPU compiler
counts.
"""

import dataclasses
import functools
import importlib.metadata
import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from flax import nnx

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values, sides, timing
from configs import prior as prior_configs
from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.compression import int8
from musicgen_jax.nn import modules
from musicgen_jax.planning import topology
from musicgen_jax.priors import prior
from musicgen_jax.runtime import allocator
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import decode, logit_filters
from musicgen_jax.transformer import kv_cache

WEIGHTS = ("float32", "bfloat16", "int8")
MUSICGEN = config.TransformerConfig(
    num_layers=24, width=1024, num_heads=16, head_dim=64, mlp_width=4096, max_distance=1024
)
_SCALE = flags.DEFINE_enum("scale", "small", ["tiny", "small", "1b", "5b"], "Sizes, of configs/prior.py.")
_CONTEXT = flags.DEFINE_integer("context", 0, "Codes of a window; 0 is the scale's own.")
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["1", "2", "8"], "Windows decoded together.")
_WEIGHTS = flags.DEFINE_list("weights", ["float32", "int8"], f"Types of the weights, of {', '.join(WEIGHTS)}.")
_CACHE_DTYPE = flags.DEFINE_enum("cache_dtype", "compute", config.CACHE_DTYPES, "Of the keys and values of the past.")
_STEPS = flags.DEFINE_integer("steps", 8, "Codes of a timed run.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Timed runs; figures are their medians.")
_MEGABYTES = flags.DEFINE_integer("megabytes", 256, "Of the array whose sum measures the memory's bandwidth.")
_THREADS = flags.DEFINE_integer("threads", 0, "CPUs to use, on both sides; 0 is all that the process may use.")
_PEER = flags.DEFINE_bool("peer", False, "Also time MusicGen's decoder in transformers, and ours of its shape.")
_AOT = flags.DEFINE_string("aot", "", "A TPU to compile for too, such as v5e:2x2.")

Arrays = Any  # a pytree


def main() -> None:
    """Flags -> JSON lines."""
    flag_values.require_positive(_STEPS, _ROUNDS, _MEGABYTES)
    sizes = flag_values.whole_numbers(_BATCH_SIZES)
    for name in _WEIGHTS.value:
        config.require(name in WEIGHTS, f"--weights={name}: must be of {', '.join(WEIGHTS)}")
    chip = topology.describe(_AOT.value).devices[0] if _AOT.value else None
    timing.limit_threads(_THREADS.value)
    allocator.keep_memory()
    for name, model in shapes().items():
        for batch_size in sizes:
            for line in measure(name, model, batch_size, chip):
                print(json.dumps(line), flush=True)


def shapes() -> dict[str, config.PriorConfig]:
    """The models of the flags by name: of the top tier, which has nothing above it."""
    model = prior_configs.get_config(f"tier=top,scale={_SCALE.value}").model
    model.context = _CONTEXT.value or model.context
    found = {_SCALE.value: model}
    if _PEER.value:
        found["musicgen"] = config.PriorConfig(tier="top", context=_CONTEXT.value or 2048, transformer=MUSICGEN)
    for model in found.values():
        model.codes_per_second = 344.5
        model.validate()
        timed_place(model)
    return found


def timed_place(model: config.PriorConfig) -> tuple[int, int]:
    """(position of the first timed step, rows of the caches): in the middle of the context.

    Raises:
      UserError: the `--steps` from there on reach beyond the steps that caches of so many rows are for.
    """
    position = model.context // 2
    end, num_rows = next(s for s in decode.stretches(model.context, model.transformer.window) if s[0] > position)
    rule = f"from position {position} of {model.context} on there is room for {end - position}: pass at most that"
    config.require(_STEPS.value <= end - position, f"--steps={_STEPS.value}: {rule}, or a longer --context")
    return position, num_rows


@dataclasses.dataclass(frozen=True)
class Case:
    """The loop of one prior and batch size, compiled, with zeros for codes and random weights.

    Attributes:
      run: decodes `--steps` codes.
      found: keys of the report.
    """

    run: Callable[[], object]
    found: dict[str, object]


def measure(name: str, model: config.PriorConfig, batch_size: int, chip: jax.Device | None) -> list[dict[str, object]]:
    """The report's lines of one shape and batch size."""
    cases = {kind: make_case(model, kind, batch_size, chip) for kind in _WEIGHTS.value}
    programs = {kind: case.run for kind, case in cases.items()}
    numbers = jnp.ones(_MEGABYTES.value * 2**18, jnp.float32)
    total = jax.jit(jnp.sum)
    programs["sum"] = lambda: total(numbers).block_until_ready()
    other_side = sides.apart(peer, model, batch_size, jax.default_backend()) if name == "musicgen" else sides.NOBODY
    with other_side as (others, more):
        seconds = timing.interleaved(programs, _ROUNDS.value, others)
    bandwidth = numbers.nbytes / seconds["sum"]
    codes = batch_size * _STEPS.value
    other = codes / seconds["peer"] if "peer" in seconds else None
    lines = []
    for kind, case in cases.items():
        value, limit = codes / seconds[kind], batch_size * bandwidth / case.found["bytes"]
        lines.append(
            {
                "benchmark": "decode",
                "value": value,
                "unit": "codes/s",
                "peer": other,
                "ratio_to_peer": value / other if other else None,
                "limit": limit,
                "share_of_limit": value / limit,
                "ratio_to_float32": seconds["float32"] / seconds[kind] if "float32" in seconds else None,
                "step_seconds": seconds[kind] / _STEPS.value,
                "bytes_per_second": bandwidth,
                "scale": name,
                "batch_size": batch_size,
                "weights": kind,
            }
            | case.found
            | more
            | circumstances()
        )
    return lines


def circumstances() -> dict[str, object]:
    """Keys of the report that all cases share."""
    packages = ("jax", "flax", *(("torch", "transformers") if _PEER.value else ()))
    return {
        "cache_dtype": _CACHE_DTYPE.value,
        "device": jax.devices()[0].device_kind,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }


def make_case(model: config.PriorConfig, kind: str, batch_size: int, chip: jax.Device | None) -> Case:
    """Compiles the loop for weights of this type."""
    dtype = jnp.bfloat16 if kind == "bfloat16" else jnp.float32
    functional = modules.Functional(lambda rngs: prior.Prior(model, dtype=dtype, rngs=rngs))
    position, num_rows = timed_place(model)
    begin = functools.partial(_begin, functional, kind, batch_size, num_rows)
    # Nothing of the stack's own weights stays: the layers are a copy of them.
    rest, fixed, caches = jax.jit(begin)(jax.random.key(0))
    codes, draws = jnp.zeros((batch_size, model.context, 1), jnp.int32), _draws(model, batch_size)
    advance = jax.jit(functools.partial(_advance, functional), donate_argnames=("codes", "caches"))
    shapes = jax.eval_shape(lambda: (rest, fixed, draws, position, codes, caches))
    compiled = _lower(advance, shapes).compile()
    state = {"codes": codes, "caches": caches}

    def run() -> object:
        state["codes"], state["caches"] = compiled(rest, fixed, draws, position, position + _STEPS.value, **state)
        return state["codes"].block_until_ready()

    weight_bytes = _nbytes(fixed.layers) + _nbytes(rest) - _nbytes(rest["codes"]) - _nbytes(rest["labels"])
    cache_bytes = _nbytes(caches) / num_rows * min(position + 1, num_rows)
    found = {
        "bytes": weight_bytes + cache_bytes,
        "weight_bytes": weight_bytes,
        "cache_bytes": cache_bytes,
        "context": model.context,
        "position": position,
        "compiler_bytes": compiled.cost_analysis().get("bytes accessed"),
    }
    if chip is not None:
        where = jax.sharding.SingleDeviceSharding(chip)
        on_chip = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), shapes)
        found["compiler_bytes_tpu"] = _lower(advance, on_chip).compile().cost_analysis().get("bytes accessed")
    return Case(run, found)


def _nbytes(tree: Arrays) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _draws(model: config.PriorConfig, batch_size: int) -> tuple[Any, ...]:
    """What the sampler takes besides codes and caches: every code is unknown."""
    rows = jnp.zeros(batch_size, jnp.int32)
    settings = logit_filters.Settings(
        temperature=jnp.ones((batch_size, model.context)), top_p=rows + 0.9, top_k=rows, guidance=rows + 1.0
    )
    return rows, rows + model.context, jax.random.split(jax.random.key(1), batch_size), rows, settings


def _begin(
    functional: modules.Functional, kind: str, batch_size: int, num_rows: int, key: jax.Array
) -> tuple[modules.Tree, decode.Fixed, list[kv_cache.Cache]]:
    """(weights outside of the layers, layers and conditioning, empty caches)."""
    params, buffers = functional.init(key)
    if kind == "int8":
        params = int8.quantize(params, functional.declared)
    elif kind == "bfloat16":
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    model: prior.Prior = functional.bind(params, buffers)
    rows = jnp.zeros(batch_size, jnp.int32)
    batch = {"codes": jnp.zeros((batch_size, model.config.context, 1), jnp.int32)}
    batch |= {"labels": rows[:, None][:, :0], "start": rows, "length": rows + model.config.context}
    fixed, caches = decode._begin(
        functional,
        _CACHE_DTYPE.value,
        (),
        (params, buffers),
        batch,
        0,
        guided=False,
        length=num_rows,
        num_rows=num_rows,
    )
    rest = params | {"stack": {name: value for name, value in params["stack"].items() if name != "layers"}}
    return rest, fixed, caches


def _advance(functional: modules.Functional, rest, fixed, draws, position, until, *, codes, caches):
    """The loop of `decode`, for weights without the stack's own, of which it reads nothing."""
    layers = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), functional.abstract_params["stack"]["layers"])
    params = rest | {"stack": rest["stack"] | {"layers": nnx.to_pure_dict(layers)}}
    return decode._advance(functional, (params, {}), fixed, draws, position, until, codes=codes, caches=caches)


def _lower(advance: Any, shapes: tuple) -> Any:
    rest, fixed, draws, position, codes, caches = shapes
    return advance.lower(rest, fixed, draws, position, position, codes=codes, caches=caches)


def peer(model: config.PriorConfig, batch_size: int, backend: str) -> tuple[sides.Programs, dict[str, object]]:
    """The same number of steps from the same position through transformers, for a process of its own, on the device of
    JAX's `backend`, in bfloat16 where bfloat16 is among the `--weights`; and that type.

    Raises:
      UserError: torch or transformers is not installed, or this torch does not know the GPU.
    """
    try:
        import torch

        from benchmarks import musicgen_torch
    except ImportError as error:
        raise UserError(f"--peer: {error}; install the extra: pip install 'musicgen_jax[parity]'") from error
    config.require(backend != "gpu" or torch.cuda.is_available(), "--peer: JAX uses a GPU that this torch cannot")
    allocator.keep_memory()
    if _THREADS.value:
        torch.set_num_threads(_THREADS.value)
    device, kind = "cuda" if backend == "gpu" else "cpu", "bfloat16" if "bfloat16" in _WEIGHTS.value else "float32"
    decoder = musicgen_torch.Decoder(model, batch_size, model.context // 2, device, getattr(torch, kind))
    return {"peer": lambda: decoder.run(_STEPS.value)}, {"peer_weights": kind}


if __name__ == "__main__":
    cli.run(main)
