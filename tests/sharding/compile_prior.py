"""Compiles the training step of a small prior on 8 fake devices and prints its collectives as one JSON object.

A process of its own, started by test_traffic.py: XLA warns on stderr, and does not where it finds a program in a cache.
`python compile_prior.py clash` compiles a layout that XLA can only reach by copying an array whole, which it warns of.
"""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp

from musicgen_jax import config
from musicgen_jax.planning import collectives, compilation, memory, workload
from musicgen_jax.sharding import meshes


def small_prior(attention: str) -> config.PriorTraining:
    transformer = config.TransformerConfig(
        num_layers=4, width=512, num_heads=4, head_dim=64, mlp_width=1024, max_distance=512, attention=attention
    )
    return config.PriorTraining(
        model=config.PriorConfig(context=512, transformer=transformer, num_codes=2048, loss_chunk=128),
        data=config.DataConfig(batch_size=4),
        mesh=config.MeshConfig(fsdp=4, tensor=2),
    )


def clash() -> None:
    """An activation in one layout and then in another that no exchange between the devices leads to."""

    def forward(x: jax.Array) -> jax.Array:
        x = jax.lax.with_sharding_constraint(x, jax.P("tensor", ("fsdp", "data"), None))
        return jax.lax.with_sharding_constraint(jnp.sin(x), jax.P("tensor", None, "fsdp"))

    with jax.set_mesh(meshes.make_mesh(config.MeshConfig(data=2, fsdp=2, tensor=2))):
        jax.jit(forward).lower(jax.ShapeDtypeStruct((64, 64, 64), jnp.float32)).compile()


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    if sys.argv[1] == "clash":
        clash()
    else:
        run = small_prior(sys.argv[1])
        mesh = meshes.make_mesh(run.mesh)
        work = workload.workload(run)
        abstract = compilation.abstract_state(work, mesh)
        found = collectives.read(compilation.compile_step(work, abstract, mesh).program, dict(mesh.shape))
        report = {
            "collectives": [dataclasses.asdict(one) for one in found],
            "bytes_by_axis": collectives.bytes_by_axis(found),
            "parameter_bytes_per_chip": memory.bytes_per_chip(abstract.params),
        }
        print(json.dumps(report))
