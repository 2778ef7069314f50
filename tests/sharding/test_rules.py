"""Logical axes -> mesh axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import modules, parameters
from musicgen_jax.sharding import meshes, rules
from musicgen_jax.training import optimizer, state


def cube() -> jax.sharding.Mesh:
    return meshes.make_mesh(config.MeshConfig(data=2, fsdp=2, tensor=2), jax.devices()[:8])


def test_spec():
    defaults = rules.AxisRules()
    assert defaults.spec(("width", None, "heads", None)) == jax.P("fsdp", None, "tensor", None)
    assert defaults.spec(("batch", "sequence", "residual")) == jax.P(("replica", "data", "fsdp"), None, None)
    assert defaults.spec(()) == jax.P()
    assert rules.AxisRules(width=None).spec(("layers", "width", "mlp")) == jax.P(None, None, "tensor")


@pytest.mark.parametrize("names", [("heads", "mlp"), ("batch", "width"), ("width", "width")])
def test_collision(names):
    with pytest.raises(ValueError, match=r"put mesh axis (tensor|fsdp) on two dimensions"):
        rules.AxisRules().spec(names)


@pytest.mark.parametrize("name", ["widht", "spec"])
def test_unknown_name(name):
    with pytest.raises(ValueError, match=f"unknown logical axis '{name}': the rules know batch, sequence, width"):
        rules.AxisRules().spec((name,))


class Layer(nnx.Module):
    def __init__(self, width: int, mlp_width: int, rngs: nnx.Rngs):
        self.hidden = parameters.layer(nnx.Linear(width, mlp_width, rngs=rngs), ("width", "mlp"))


def test_indivisible_dimension_names_the_parameter():
    functional = modules.Functional(lambda rngs: Layer(2001, 1001, rngs))
    with pytest.raises(ValueError, match=r"parameter hidden/kernel of shape \(2001, 1001\) .*'fsdp': 2.* divides none"):
        functional.shardings(rules.AxisRules(), cube())


@pytest.mark.parametrize(
    ("names", "shape", "spec"),
    [
        (("width", "mlp"), (3, 4), jax.P(None, "tensor")),  # small: what does not divide stays whole
        (("width", None, "heads", None), (2048, 3, 5, 128), jax.P(("fsdp", "tensor"), None, None, None)),
        (("width", None, "heads", None), (2046, 3, 5, 128), jax.P("fsdp", None, None, "tensor")),
        (("layers", "heads", None, None), (8, 2, 1024, 128), jax.P(None, "tensor", "fsdp", None)),
        ((None, None, None), (3, 1024, 1024), jax.P(None, "fsdp", None)),  # no names, but large
        ((None, None), (512, 512), jax.P(None, None)),
        (("layers", "heads", None, None), (8, 3, 1024, 128), jax.P(None, None, ("tensor", "fsdp"), None)),
        (("layers", None), (2**20, 3), jax.P(None, None)),  # "fsdp" was not asked for, so it need not divide
    ],
)
def test_parameter_spec(names, shape, spec):
    assert rules.parameter_spec(names, shape, rules.AxisRules(), cube()) == spec


def test_large_parameter_that_an_axis_cannot_divide():
    with pytest.raises(ValueError, match="mesh axis tensor of size 2 divides none of the dimensions 513 or 1025"):
        rules.parameter_spec(("width", "mlp"), (1026, 1025), rules.AxisRules(), cube())


def test_constraint_that_does_not_divide_leaves_the_dimension_whole():
    with jax.set_mesh(cube()):
        x = jax.jit(lambda: rules.constrain(jnp.ones((8, 5)), rules.AxisRules(), ("batch", "heads")))()
    assert x.sharding.shard_shape(x.shape) == (2, 5)


def test_constrain_without_a_mesh_is_the_identity():
    x = jnp.ones((2, 3))
    assert rules.constrain(x, rules.AxisRules(), ("batch", "width")) is x


def test_constrain_with_a_mesh():
    with jax.set_mesh(cube()):
        x = jax.jit(lambda: rules.constrain(jnp.ones((8, 4)), rules.AxisRules(), ("batch", "mlp")))()
    assert x.sharding.spec == jax.P(("data", "fsdp"), "tensor")  # XLA drops axes of size 1


@pytest.mark.long
def test_initial_state_is_created_as_the_rules_say():
    model = tiny_runs.prior_config("top")
    training = config.TrainingConfig(num_steps=10, ema_decay=0.9)
    task = tiny_runs.prior_task(model)
    tx = optimizer.make_optimizer(tiny_runs.OPTIMIZER, 10, task.functional.declared)
    made = state.initial_state(task, training, tx, cube())
    specs = jax.tree.map(lambda x: x.sharding.spec, made)
    attention = specs.params["stack"]["layers"]["attention"]
    assert attention["qkv"] == jax.P(None, "fsdp", None, "tensor", None)
    assert attention["out"] == jax.P(None, "tensor", None, "fsdp")
    assert specs.params["stack"]["layers"]["mlp"]["hidden"]["kernel"] == jax.P(None, "fsdp", "tensor")
    assert specs.params["codes"] == jax.P("tensor", "fsdp")
    assert specs.step == jax.P()
    assert specs.ema_params == specs.params
    moments = [
        part for part in jax.tree.leaves(made.opt_state, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(part, "mu")
    ]
    assert jax.tree.map(lambda x: x.sharding.spec, moments[0].mu) == specs.params
    qkv = made.params["stack"]["layers"]["attention"]["qkv"]
    assert qkv.addressable_shards[0].data.size * 4 == qkv.size  # fsdp x tensor
    alone = state.initial_state(task, training, tx, meshes.single_device_mesh())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), made.params, alone.params)
