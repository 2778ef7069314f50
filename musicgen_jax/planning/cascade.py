"""What sampling from published priors takes of one chip's memory, at their full width; nothing is allocated."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from musicgen_jax import config, kinds
from musicgen_jax.nn import modules
from musicgen_jax.planning import topology
from musicgen_jax.priors import jukebox_batch


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
