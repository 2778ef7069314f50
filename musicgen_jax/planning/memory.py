"""How many bytes of a chip's memory parameters, optimizer state and activations take."""

import math
from typing import Any

import jax

from musicgen_jax.planning import workload
from musicgen_jax.sharding import rules
from musicgen_jax.training import rng, state


def bytes_per_chip(tree: Any) -> int:
    """Bytes that one chip holds of arrays, given as ShapeDtypeStructs with shardings; without the padding of tiles."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)


def breakdown(
    work: workload.Workload, abstract: state.TrainState, mesh: jax.sharding.Mesh, peak_bytes: int
) -> dict[str, int]:
    """Bytes a chip by kind; they sum up to `peak`, unless the compiler reuses gradients' or activations' memory.

    Returns:
      parameters, optimizer, moving_average: what lies there between steps;
      gradients: float32, as the parameters lie;
      activations: what the forward pass keeps for the backward pass;
      temporaries: the rest of the peak, with the batch, the program and the padding of tiles;
      peak: as the compiler says.
    """
    parts = {
        "parameters": bytes_per_chip((abstract.params, abstract.frozen)),
        "optimizer": bytes_per_chip(abstract.opt_state),
        "moving_average": bytes_per_chip(abstract.ema_params),
        "gradients": bytes_per_chip(abstract.params),
        "activations": activation_bytes(work, abstract, mesh),
    }
    return parts | {"temporaries": max(0, peak_bytes - sum(parts.values())), "peak": peak_bytes}


def activation_bytes(work: workload.Workload, abstract: state.TrainState, mesh: jax.sharding.Mesh) -> int:
    """What the forward pass keeps for the backward pass of one micro-batch, on one chip.

    Only arrays that the forward pass computes count, not parameters and batch. Each is taken to be divided as the batch
    is, and over `tensor` too where the run divides the sequence between the blocks.
    """
    run = work.run

    functional = work.task.functional

    def forward(params: Any, frozen: Any, buffers: Any, batch: Any, key: jax.Array) -> tuple:
        def loss(params: Any) -> jax.Array:
            return work.task.loss(functional.bind(functional.whole(params, frozen), buffers), batch, key, True)[0]

        return jax.tree.leaves(jax.vjp(loss, params)[1])

    micro_batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((x.shape[0] // run.training.accumulation_steps, *x.shape[1:]), x.dtype),
        dict(work.task.batch),
    )
    key = jax.eval_shape(lambda: rng.key(0, "train"))
    with jax.set_mesh(mesh):  # which tells the model for which platform it is traced
        jaxpr = jax.make_jaxpr(forward)(abstract.params, abstract.frozen, abstract.buffers, micro_batch, key).jaxpr
    given = {id(variable) for variable in jaxpr.invars}
    kept = {id(out): out.aval for out in jaxpr.outvars if id(out) not in given and not hasattr(out, "val")}
    divided_over = (*work.task.axis_rules.batch, *(["tensor"] if run.shard_sequence else []))
    total = sum(aval.size * aval.dtype.itemsize for aval in kept.values() if hasattr(aval.dtype, "itemsize"))
    return round(total / rules.ways(divided_over, mesh))
