"""How long does relative attention take, forward and backward, and in how much memory?

    python -m benchmarks.attention --lengths=1024,2048,4096,8192
    python -m benchmarks.attention --aot=v5e:2x2 --lengths=8192

Prints one JSON line for each back end and length, and a last one with a straight line through each back end's memory.
`value` is seconds; `dot_product` is `jax.nn.dot_product_attention`, causal too and without a relative term. Programs of
one length run by turns, so that a busy machine slows all of them, on CPUs each in a process of its own that keeps its
memory, as training does. What needs more than --max_gib is compiled but not run, and its value is null. With --aot
nothing is run: `value` is the peak memory that the compiler of a TPU plans, and the reasons of a program that does not
fit its memory are in `error`.
"""

import contextlib
import json
import math
import pathlib
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values, sides, timing
from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.planning import topology
from musicgen_jax.runtime import allocator
from musicgen_jax.sharding import meshes
from musicgen_jax.training import precision
from musicgen_jax.transformer import relative_attention, relative_distances

_LENGTHS = flags.DEFINE_list("lengths", ["1024", "2048", "4096", "8192"], "Codes of a sequence.")
_BACKENDS = flags.DEFINE_list("backends", ["reference", "blocked", "dot_product"], "And `pallas`, on a TPU.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Sequences.")
_HEADS = flags.DEFINE_integer("heads", 2, "Attention heads.")
_HEAD_DIM = flags.DEFINE_integer("head_dim", 128, "Width of a head.")
_MAX_DISTANCE = flags.DEFINE_integer("max_distance", 1024, "Rows of the table of distances; 0 is the length.")
_WINDOW = flags.DEFINE_integer("window", 0, "Codes back that are seen; 0 is all. `dot_product` then has a window too.")
_STEPS = flags.DEFINE_integer("steps", 3, "Timed runs, after some that do not count; figures are their medians.")
_COMPUTE_DTYPE = flags.DEFINE_enum("compute_dtype", "float32", ["float32", "bfloat16"], "Type of the activations.")
_THREADS = flags.DEFINE_integer("threads", 0, "CPUs to use; 0 is all that the process may use.")
_MAX_GIB = flags.DEFINE_float("max_gib", 8.0, "Run what needs no more memory than this.")
_AOT = flags.DEFINE_string("aot", "", "Compile for this TPU, such as v5e:2x2, instead of running. Needs libtpu.")

DOT_PRODUCT = "dot_product"


def main() -> None:
    """Flags -> JSON lines."""
    flag_values.require_positive(_BATCH_SIZE, _HEADS, _HEAD_DIM, _STEPS)
    known = (*config.ATTENTIONS, DOT_PRODUCT)
    for name in _BACKENDS.value:
        config.require(name in known, f"--backends: {name!r} is none of {', '.join(known)}")
    lengths = sorted(flag_values.whole_numbers(_LENGTHS))
    timing.limit_threads(_THREADS.value)
    lines = [line for length in lengths for line in (planned if _AOT.value else measured)(length)]
    if len(lengths) > 1:
        print(json.dumps(memory_fit(lines)))


def measured(length: int) -> list[dict[str, object]]:
    """Runs and prints one length, a line for each back end."""
    place = sides.apart if jax.default_backend() == "cpu" else sides.here
    with contextlib.ExitStack() as stack:
        made = {name: stack.enter_context(place(back_end, name, length)) for name in _BACKENDS.value}
        runs = {name: run for programs, _ in made.values() for name, run in programs.items()}
        seconds = timing.interleaved({}, _STEPS.value, runs)
    lines = [report(name, length, seconds.get(name), "s", found["peak_bytes"]) for name, (_, found) in made.items()]
    reference = seconds.get("reference")
    for line in lines:
        line["ratio_to_reference"] = reference / line["value"] if reference and line["value"] else None
        print(json.dumps(line), flush=True)
    return lines


def back_end(name: str, length: int) -> tuple[sides.Programs, dict[str, object]]:
    """The program of one back end, or none where it takes more than --max_gib; and its peak memory."""
    allocator.keep_memory()
    arrays = [jnp.asarray(np.random.default_rng(0).standard_normal(s.shape), s.dtype) for s in shapes(length)]
    run = program(name).lower(*arrays).compile()
    memory = run.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    peak_bytes = held + memory.temp_size_in_bytes
    fits = peak_bytes <= _MAX_GIB.value * 2**30
    return {name: lambda: jax.block_until_ready(run(*arrays))} if fits else {}, {"peak_bytes": peak_bytes}


def planned(length: int) -> list[dict[str, object]]:
    """Compiles one length for the TPU of --aot and prints a line for each back end.

    Raises:
      UserError: libtpu is missing, or does not know the topology.
    """
    devices = topology.describe(_AOT.value).devices
    mesh = meshes.make_mesh(config.MeshConfig(), devices[:1])
    whole = jax.sharding.NamedSharding(mesh, jax.P())
    lines = []
    for name in _BACKENDS.value:
        peak, error = None, None
        with jax.set_mesh(mesh):
            arrays = [jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=whole) for s in shapes(length)]
            try:
                peak = program(name).lower(*arrays).compile().memory_analysis().peak_memory_in_bytes
            except jax.errors.JaxRuntimeError as failure:
                error = str(failure).splitlines()[0]
        lines.append(report(name, length, peak, "bytes", peak) | {"device": _AOT.value, "error": error})
        print(json.dumps(lines[-1]), flush=True)
    return lines


def shapes(length: int) -> list[jax.ShapeDtypeStruct]:
    """Of query, key, value, table and the gradient that comes back."""
    dtype = precision.dtype(_COMPUTE_DTYPE.value)
    part = jax.ShapeDtypeStruct((_BATCH_SIZE.value, length, _HEADS.value, _HEAD_DIM.value), dtype)
    rows = _MAX_DISTANCE.value or length
    return [part, part, part, jax.ShapeDtypeStruct((_HEADS.value, rows, _HEAD_DIM.value), jnp.float32), part]


def program(name: str) -> Callable[..., tuple[jax.Array, ...]]:
    """The back end's output and all its gradients, to be compiled."""
    pattern = relative_distances.Pattern(window=_WINDOW.value)

    def attend(query: jax.Array, key: jax.Array, value: jax.Array, table: jax.Array) -> jax.Array:
        if name == DOT_PRODUCT:
            window = (_WINDOW.value, 0) if _WINDOW.value else None
            return jax.nn.dot_product_attention(query, key, value, is_causal=True, local_window_size=window)
        return relative_attention.relative_attention(query, key, value, table, pattern, name)

    def both(query, key, value, table, cotangent):
        out, backward = jax.vjp(attend, query, key, value, table)
        return out, *backward(cotangent)

    return jax.jit(both)


def report(backend: str, length: int, value: float | None, unit: str, peak_bytes: int | None) -> dict[str, object]:
    """A line's keys."""
    return {
        "benchmark": "attention",
        "backend": backend,
        "length": length,
        "value": value,
        "unit": unit,
        "peak_bytes": peak_bytes,
        "batch_size": _BATCH_SIZE.value,
        "heads": _HEADS.value,
        "head_dim": _HEAD_DIM.value,
        "max_distance": _MAX_DISTANCE.value or length,
        "window": _WINDOW.value,
        "dtype": _COMPUTE_DTYPE.value,
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def memory_fit(lines: list[dict[str, object]]) -> dict[str, object]:
    """Each back end's memory as a straight line of the length, and as a power of it; of those with two lengths or more.

    `bytes_per_code` is the slope, `worst_error` the largest relative deviation from the straight line, and `power` the
    slope of the logarithms: 1 is linear growth, 2 is quadratic.
    """
    fits = {}
    for backend in _BACKENDS.value:
        known = [line for line in lines if line["backend"] == backend and line["peak_bytes"]]
        if len(known) < 2:
            continue
        length, held = (np.array([line[key] for line in known], float) for key in ("length", "peak_bytes"))
        slope, start = np.polyfit(length, held, 1)
        fits[backend] = {
            "bytes_per_code": slope,
            "start_bytes": start,
            "worst_error": float(np.max(np.abs(slope * length + start - held) / held)),
            "power": math.log(held[-1] / held[0]) / math.log(length[-1] / length[0]),
        }
    value = fits.get("blocked", {}).get("bytes_per_code")
    return {"benchmark": "attention_memory", "value": value, "unit": "bytes/code", "fits": fits}


if __name__ == "__main__":
    cli.run(main)
