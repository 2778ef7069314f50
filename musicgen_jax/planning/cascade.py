"""What sampling from published priors takes of one chip, at their full width; nothing is allocated."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from musicgen_jax import config, kinds
from musicgen_jax.nn import modules, parameters
from musicgen_jax.planning import topology, workload
from musicgen_jax.priors import jukebox_batch
from musicgen_jax.transformer import weights as products


def plan(models: Mapping[str, config.JukeboxPriorConfig], place: str, num_samples: int) -> dict[str, Any]:
    """Counts weights, keys and values, what the priors are told, and the second copy of the layers that are scanned.

    All priors are in memory together, one samples at a time; the copy is there while a window's known codes are read.
    Activations, of which a step has few and that reading more, are not counted.

    Args:
      models: by tier.
      place: a topology, such as "h100:1"; one of its chips samples.
      num_samples: made together.

    Returns:
      A JSON object with the keys of `plan.plan` that apply: "parameters", "bytes_per_chip", "fits" and so on.

    Raises:
      UserError: a bad topology, or less than one sample.
    """
    config.require(num_samples >= 1, f"`num_samples`={num_samples}: must be at least 1")
    chip, _ = topology.parse(place)
    tiers = {tier: _of_prior(model, num_samples) for tier, model in models.items()}
    weights = sum(sizes["parameters"] for sizes in tiers.values())
    peak = weights + max(sum(sizes.values()) - sizes["parameters"] for sizes in tiers.values())
    return {
        "topology": place,
        "num_samples": num_samples,
        "parameters": sum(sizes["parameters"] for sizes in tiers.values()) // 4,  # float32
        "bytes_per_chip": {"parameters": weights, "peak": peak, "tiers": tiers},
        "hbm_bytes_per_chip": chip.hbm_bytes,
        "usable_hbm_bytes_per_chip": chip.usable_bytes,
        "fits": peak <= chip.usable_bytes,
    }


def plan_musicgen(run: config.MusicgenTraining, place: str, num_samples: int, *, rounded: bool) -> dict[str, Any]:
    """Of a MusicGen with guidance, two rows a sample: weights, the copy of the layers that a loop reads, keys and
    values of a whole window, and what a step of that loop takes at least.

    Args:
      run: its config; activations are of its compute dtype.
      place: a topology; one of its chips samples.
      num_samples: made together.
      rounded: int8 weights, as `compress --method=int8` makes them.

    Returns:
      As `plan`, and "step_seconds", "bound" and "realtime_factor", seconds of music a second: a step reads the layers'
      copy, the logits' table and all keys and values once, and multiplies with each.

    Raises:
      UserError: as `plan`.
    """
    config.require(num_samples >= 1, f"`num_samples`={num_samples}: must be at least 1")
    chip, _ = topology.parse(place)
    run.model = workload.resolve(run.model)
    run.data.batch_size = 2 * num_samples
    task = kinds.task(run)
    weights, _ = jax.eval_shape(task.functional.init, jax.random.key(0))
    if rounded:
        weights = jax.eval_shape(lambda tree: _rounded(tree, task.functional.declared), weights)

    def begin(weights: modules.Tree, batch: dict[str, jax.Array]) -> dict[str, Any]:
        prior = task.functional.bind(weights, {})
        told = prior.condition(batch)
        layers = products.matrices_as(prior.stack.unstacked(), prior.dtype)
        return {"caches": prior.prefill(batch["codes"], told), "told": told, "copies": layers}

    found = {name: _bytes(tree) for name, tree in jax.eval_shape(begin, weights, task.batch).items()}
    held, peak = _bytes(weights), _bytes(weights) + sum(found.values())
    read = found["copies"] + _bytes(weights["logits"]) + found["caches"]
    rows = run.data.batch_size
    operations = 2 * rows * (task.functional.num_parameters() + found["caches"] // rows // 2)
    seconds = {"hbm": read / chip.hbm_bytes_per_second, "compute": operations / chip.flops}
    bound = max(seconds, key=seconds.__getitem__)
    return {
        "topology": place,
        "num_samples": num_samples,
        "parameters": task.functional.num_parameters(),
        "bytes_per_chip": {"parameters": held, "peak": peak, **found},
        "hbm_bytes_per_chip": chip.hbm_bytes,
        "usable_hbm_bytes_per_chip": chip.usable_bytes,
        "fits": peak <= chip.usable_bytes,
        "bound": bound,
        "step_seconds": seconds[bound],
        "realtime_factor": num_samples / seconds[bound] / run.model.codes_per_second,
    }


def _rounded(tree: modules.Tree, declared: modules.Tree) -> modules.Tree:
    """Parameters with int8 in the place of the matrices that may be rounded."""

    def of(leaf: jax.Array, one: parameters.Declaration) -> Any:
        return leaf if one.int8 == parameters.NEVER else products.quantize(leaf, one.inputs)

    return jax.tree.map(of, tree, declared)


def _of_prior(model: config.JukeboxPriorConfig, num_samples: int) -> dict[str, int]:
    functional = kinds.of(model).functional(model)
    shapes = jukebox_batch.shapes(model, num_samples)
    batch = {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name, shape in shapes.items()}
    weights = jax.eval_shape(functional.init, jax.random.key(0))

    def begin(weights: tuple[modules.Tree, modules.Tree], batch: dict[str, jax.Array]) -> dict[str, Any]:
        prior = functional.bind(*weights)
        told = prior.condition(batch)
        copies = [prior.stack.blocks_of(group) for group in prior.stack.groups if group.times > 1]
        return {"caches": prior.prefill(batch["codes"], told), "told": told, "copies": copies}

    found = jax.eval_shape(begin, weights, batch)
    return {"parameters": _bytes(weights)} | {name: _bytes(tree) for name, tree in found.items()}


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
