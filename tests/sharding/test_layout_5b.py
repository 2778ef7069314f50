"""Where every parameter of the 5 B prior lies on 2 x 16 x 8 devices, none of which is there.

A change of the layout is a change of speed and memory on a pod: look at the difference, then write it anew with

    PYTHONPATH=. python tests/sharding/test_layout_5b.py
"""

import json
import math
import pathlib

import jax
import pytest
from flax import nnx

from musicgen_jax import config
from musicgen_jax.planning import workload
from musicgen_jax.sharding import rules

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "prior_5b_layout.json"
SIZES = {"replica": 1, "data": 2, "fsdp": 16, "tensor": 8}


def layout(tier: str, sizes: dict[str, int]) -> dict[str, list]:
    """Path -> [shape, mesh axes of each dimension, elements a device]."""
    width = 4800 if tier == "top" else 1920
    transformer = config.TransformerConfig(width=width, mlp_width=width, max_distance=1024)
    run = config.PriorTraining(model=config.PriorConfig(tier=tier, transformer=transformer))
    work = workload.workload(run)
    mesh = jax.sharding.AbstractMesh(tuple(sizes.values()), tuple(sizes))
    shardings, _ = work.task.functional.shardings(rules.AxisRules(), mesh)
    found = {}
    abstract = nnx.to_pure_dict(work.task.functional.abstract_params)
    for (path, leaf), sharding in zip(
        jax.tree_util.tree_leaves_with_path(abstract), jax.tree.leaves(shardings), strict=True
    ):
        name = "/".join(str(entry.key) for entry in path)
        found[name] = [list(leaf.shape), list(sharding.spec), math.prod(sharding.shard_shape(leaf.shape))]
    return found


def text(layouts: dict[str, dict[str, list]]) -> str:
    """JSON, a parameter a line."""
    tiers = []
    for tier, found in layouts.items():
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(found.items()))
        tiers.append(f'"{tier}": {{\n{lines}\n}}')
    return "{" + ",\n".join(tiers) + "}\n"


def test_layout_is_the_golden_one():
    assert (
        text({tier: layout(tier, SIZES) for tier in ("top", "middle")}).splitlines() == GOLDEN.read_text().splitlines()
    )


@pytest.mark.parametrize("tier", ["top", "middle"])
def test_all_that_is_large_is_divided(tier):
    for sizes in (SIZES, {"replica": 1, "data": 1, "fsdp": 64, "tensor": 1}):
        for name, (shape, spec, elements) in layout(tier, sizes).items():
            if math.prod(shape) >= rules.LARGE:
                assert elements * sizes["fsdp"] * sizes["tensor"] == math.prod(shape) or "tensor" not in spec, name
                assert elements * sizes["fsdp"] <= math.prod(shape), name


def test_a_width_of_4800_divides_over_at_most_64():
    with pytest.raises(ValueError, match=r"mesh axis fsdp of size 128 divides none of .*4800.*choose a smaller axis"):
        layout("top", {"replica": 1, "data": 1, "fsdp": 128, "tensor": 1})


if __name__ == "__main__":
    GOLDEN.write_text(text({tier: layout(tier, SIZES) for tier in ("top", "middle")}))
