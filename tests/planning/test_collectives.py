"""Collectives read from programs: written by hand in every notation, and compiled for eight devices."""

import jax
import jax.numpy as jnp
import pytest

from musicgen_jax import config
from musicgen_jax.planning import collectives
from musicgen_jax.sharding import meshes

SHAPE = {"replica": 1, "data": 2, "fsdp": 2, "tensor": 2}


def program(groups: str, kind: str = "all-gather", result: str = "bf16[4,1024]{1,0:T(8,128)(2,1)}") -> str:
    return f"""HloModule jit_step

ENTRY %main.1 (p: bf16[4,512]) -> bf16[4,1024] {{
  %p = bf16[4,512]{{1,0}} parameter(0)
  ROOT %x.2 = {result} {kind}(%p), channel_id=7, {groups}, dimensions={{1}}
}}
"""


@pytest.mark.parametrize(
    ("groups", "axes", "group"),
    [
        ("replica_groups={{0,1},{2,3},{4,5},{6,7}}", ("tensor",), 2),
        ("replica_groups=[4,2]<=[8]", ("tensor",), 2),
        ("replica_groups=[4,2]<=[2,2,2]T(0,2,1)", ("fsdp",), 2),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", ("data", "fsdp"), 4),
        ("replica_groups=mesh['a'=2,'b'=4] {'b'}", ("fsdp", "tensor"), 4),
        ("replica_groups=mesh['a'=2,'b'=4] {'b':(1)2}", ("fsdp",), 2),
        ("replica_groups=mesh['a'=2,'b'=4] {'b':(2)2}", ("tensor",), 2),
        ("replica_groups=mesh['a'=2,'b'=4] {'a','b':(2)2}", ("data", "tensor"), 4),
        ("replica_groups={}", ("data", "fsdp", "tensor"), 8),
    ],
)
def test_groups(groups, axes, group):
    (found,) = collectives.read(program(groups), SHAPE)
    assert (found.axes, found.group) == (axes, group)
    assert found.bytes == 4 * 1024 * 2 * (group - 1) / group


@pytest.mark.parametrize(
    ("kind", "result", "sent"),
    [
        ("all-reduce", "f32[100]", 2 * 400 * 3 / 4),
        ("reduce-scatter", "f32[100]", 400 * 3),
        ("all-to-all", "f32[100]", 400 * 3 / 4),
        ("all-gather-start", "(f32[25], f32[100])", 400 * 3 / 4),
        ("all-reduce-start", "(f32[50], f32[50])", 2 * 400 * 3 / 4),
    ],
)
def test_bytes(kind, result, sent):
    (found,) = collectives.read(program("replica_groups=[2,4]<=[8]", kind, result), SHAPE)
    assert found.bytes == sent


def test_permutation():
    pairs = "source_target_pairs={{0,1},{1,0},{2,3},{3,2}}"
    text = program(pairs, "collective-permute-start", "(bf16[8], bf16[8], u32[]{:S(2)}, u32[]{:S(2)})")
    (found,) = collectives.read(text, SHAPE)
    assert (found.axes, found.bytes) == (("tensor",), 16)


def test_what_tpus_send_through_their_hosts_to_other_slices():
    attributes = """is_host_transfer=true, frontend_attributes={_xla_host_transfer_rendezvous="all-reduce.1_0",\
_xla_megascale_target="{1,2}x{0:3}",_xla_megascale_transfer_type="ALL_REDUCE"}"""
    text = program(attributes, "send", "(f32[8,8,128]{2,1,0:T(8,128)}, u32[], token[])")
    (found,) = collectives.read(text, SHAPE | {"replica": 4, "data": 1, "fsdp": 1})
    assert (found.kind, found.axes, found.bytes) == ("all-reduce", ("replica",), 2 * 8 * 8 * 128 * 4 * 3 / 4)


def test_groups_of_one_send_nothing():
    assert collectives.read(program("replica_groups=[8,1]<=[8]"), SHAPE) == []


def test_loops_multiply_and_pieces_of_one_collective_count_once():
    text = """HloModule jit_step

%step (p: f32[8]) -> f32[8] {
  ROOT %g.1 = f32[8]{0} all-gather(%p), channel_id=1, replica_groups=[4,2]<=[8], dimensions={0}
}

%inner (t: (f32[8])) -> (f32[8]) {
  ROOT %f.1 = f32[8]{0} fusion(%t), kind=kCustom, calls=%step
}

%inner_condition (t: (f32[8])) -> pred[] {
  %c.1 = s32[] constant(100)
  ROOT %l.1 = pred[] compare(%t, %c.1), direction=LT
}

%body (t: (f32[8])) -> (f32[8]) {
  %f.2 = f32[8]{0} fusion(%t), kind=kCustom, calls=%step
  %w.2 = (f32[8]) while(%f.2), condition=%inner_condition, body=%inner
  ROOT %r.1 = f32[8]{0} all-reduce(%w.2), channel_id=2, replica_groups=[4,2]<=[8], to_apply=%add
}

%condition (t: (f32[8])) -> pred[] {
  ROOT %l.2 = pred[] compare(%t, %t), direction=LT
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %w.1 = (f32[8]) while(%p), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"5"}}
}
"""
    found = collectives.read(text, SHAPE)
    assert sorted((one.kind, one.count) for one in found) == [("all-gather", 5), ("all-reduce", 5)]
    assert collectives.bytes_by_axis(found) == {"tensor": 5 * 16 + 5 * 32}


def test_compiled_program():
    mesh = meshes.make_mesh(config.MeshConfig(data=2, fsdp=2, tensor=2), jax.devices()[:8])

    def layers(x: jax.Array, weights: jax.Array) -> jax.Array:
        def layer(x: jax.Array, weight: jax.Array) -> tuple[jax.Array, None]:
            whole = jax.lax.with_sharding_constraint(weight, jax.P(None, "tensor"))
            return jax.lax.with_sharding_constraint(x @ whole @ whole.T, jax.P("data")), None

        return jax.lax.scan(layer, x, weights)[0]

    with jax.set_mesh(mesh):
        shapes = [
            jax.ShapeDtypeStruct(shape, jnp.float32, sharding=jax.NamedSharding(mesh, spec))
            for shape, spec in (((8, 64), jax.P("data")), ((6, 64, 32), jax.P(None, "fsdp", "tensor")))
        ]
        text = jax.jit(layers).lower(*shapes).compile().as_text()
    found = collectives.bytes_by_axis(collectives.read(text, dict(mesh.shape)))
    assert found["fsdp"] == 6 * (64 * 16 * 4) / 2  # each layer's weights, [64, 32 / tensor] collected from two
    assert found["tensor"] == 6 * 2 * (4 * 64 * 4) / 2  # each layer's sum, [8 / data, 64] over two
    assert set(found) == {"fsdp", "tensor"}
