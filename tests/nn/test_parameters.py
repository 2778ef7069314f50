"""What parameters say of themselves, and the groups that follow from it for the models that there are."""

import jax
import jax.numpy as jnp
import pytest
import tiny_runs
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import modules, parameters
from musicgen_jax.sharding import meshes
from musicgen_jax.training import muon, state


def grouped(task: state.Task) -> dict[str, set[str]]:
    """Role -> paths, their numbers left out: what stands in a list is alike."""
    groups = {}
    for path, declared in jax.tree_util.tree_leaves_with_path(task.functional.declared):
        names = [str(entry.key) for entry in path]
        groups.setdefault(declared.role, set()).add("/".join(name for name in names if not name.isdigit()))
    return groups


def test_roles_of_a_prior():
    found = grouped(tiny_runs.prior_task(tiny_runs.prior_config("middle")))
    linear = {"stack/layers/mlp/hidden", "stack/layers/mlp/out", "upsampler/project", "upsampler/upsampling"}
    linear |= {f"upsampler/stack/blocks/{name}" for name in ("dilated", "project")}
    norms = {"stack/norm", "stack/layers/attention_norm", "stack/layers/mlp_norm", "upsampler/norm"}
    assert found["matrix"] == {f"{name}/kernel" for name in linear} | {
        f"stack/layers/attention/{name}" for name in ("qkv", "out")
    }
    assert found["bias"] == {f"{name}/bias" for name in linear | norms} | {"bias"}
    assert found["norm"] == {f"{name}/scale" for name in norms}
    assert found["vector"] == {"start"}
    assert found["embedding"] == {
        *("codes", "logits", "upsampler/codes", "stack/layers/attention/distances"),
        *(f"labels/{name}" for name in ("genre", "artist", "total", "elapsed")),
    }


def test_a_model_is_made_the_same_within_a_mesh():
    """As the samples of a training are, whose mesh is set; its axes are no logical ones."""
    model = tiny_runs.prior_config("top")
    outside = tiny_runs.prior_task(model).functional
    with jax.set_mesh(meshes.single_device_mesh()):
        inside = tiny_runs.prior_task(model).functional
    assert inside.abstract_params == outside.abstract_params and inside.declared == outside.declared


def test_roles_of_a_vqvae_and_its_discriminator():
    found = grouped(tiny_runs.vqvae_task(adversarial_config=config.AdversarialConfig(weight=1.0, fft_sizes=(64,))))
    kernels = {path for path in found["matrix"] if path.endswith("/kernel")}
    assert found == {"matrix": kernels, "bias": {path.removesuffix("kernel") + "bias" for path in kernels}}
    assert {path.split("/")[0] for path in kernels} == {"top", "middle", "bottom", "discriminator"}


def test_each_convolution_is_one_matrix_for_muon():
    functional = tiny_runs.vqvae_task().functional
    dimensions = jax.tree.leaves(
        muon.matrices(functional.declared), is_leaf=lambda x: isinstance(x, tuple) and hasattr(x, "output_axis")
    )
    assert {(axes.reduction_axis, axes.output_axis) for axes in dimensions} == {((-3, -2), (-1,))}


def test_values_and_names_are_those_of_the_layer():
    plain = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    declared = parameters.layer(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), ("width", "mlp"))
    assert jnp.array_equal(plain.kernel[...], declared.kernel[...])
    assert parameters.declaration(declared.kernel) == parameters.Declaration(
        "matrix", (-2,), (-1,), axes=("width", "mlp")
    )
    assert parameters.declaration(declared.bias) == parameters.Declaration("bias", axes=(None,))


def test_a_parameter_that_says_nothing_is_refused():
    with pytest.raises(ValueError, match="does not say what it is"):
        modules.Functional(lambda rngs: nnx.Linear(3, 2, rngs=rngs))


@pytest.mark.parametrize(
    "values",
    [{"role": "kernel"}, {"role": "matrix"}, {"role": "bias", "int8": "both"}, {"role": "embedding", "int8": "yes"}],
)
def test_declarations_that_contradict_themselves(values):
    with pytest.raises(ValueError, match=f"role='{values['role']}'"):
        parameters.Declaration(**values)
