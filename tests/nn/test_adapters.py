"""Adapters beside the matrices of any declared module."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_musicgen
import tiny_priors

from musicgen_jax import config, kinds
from musicgen_jax.nn import adapters, parameters
from musicgen_jax.nn.low_rank import LowRank
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.transformer import weights

RANK = 3
# Of attention (independent q, k, v; several inputs; several outputs), and of an MLP with a leading axis that x shares.
PRODUCTS = {
    "btd,dnhk->btnhk": ((2, 5, 8), (8, 3, 2, 4), (-4,), (-2, -1)),
    "bthk,hkd->btd": ((2, 5, 2, 4), (2, 4, 8), (-3, -2), (-1,)),
    "...d,df->...f": ((2, 5, 8), (8, 6), (-2,), (-1,)),
    "ebd,edf->ebf": ((3, 2, 8), (3, 8, 6), (-2,), (-1,)),
}


def low_rank(shape, inputs, outputs, seed=0) -> LowRank:
    rng = np.random.default_rng(seed)
    own = [axis for axis in range(-len(shape), 0) if axis not in inputs + outputs]
    sized = lambda axes: tuple(shape[axis] for axis in axes)  # noqa: E731
    shapes = shape, (*sized(own), *sized(inputs), RANK), (*sized(own), RANK, *sized(outputs))
    parts = (rng.standard_normal(one).astype(np.float32) for one in shapes)
    return LowRank(*map(jnp.asarray, parts), 0.5, inputs, outputs)


@pytest.mark.parametrize("spec", PRODUCTS)
def test_a_product_with_both_is_that_with_the_merged_matrix(spec):
    x_shape, shape, inputs, outputs = PRODUCTS[spec]
    weight = low_rank(shape, inputs, outputs)
    x = np.random.default_rng(1).standard_normal(x_shape).astype(np.float32)
    found = weights.einsum(spec, x, weight, jnp.float32)
    np.testing.assert_allclose(found, np.einsum(spec, x, weight.merged()), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(weights.dense(weight), weight.merged())
    assert (weight.shape, weight.ndim) == (shape, len(shape))


def test_merging_is_the_sum_over_the_rank():
    weight = low_rank((8, 3, 2, 4), (-4,), (-2, -1))
    expected = np.array(weight.base)
    for part in range(3):
        for column in range(RANK):
            outer = np.multiply.outer(weight.down[part, :, column], weight.up[part, column])
            expected[:, part] += 0.5 * outer
    np.testing.assert_allclose(weight.merged(), expected, rtol=1e-5, atol=1e-5)
    layers = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), weight)
    np.testing.assert_array_equal(layers[0].merged(), weight.merged())


def adapted(layer: str = "relative", targets=("attention", "mlp"), rank: int = RANK, **changes):
    if layer == "musicgen":  # reads a memory, without biases
        model = tiny_musicgen.model_config(**changes)
        functional = kinds.KINDS["musicgen"].functional(config.MusicgenTraining(model=model))
    else:
        model = tiny_priors.model_config("middle", layer=layer, **changes)
        functional = kinds.KINDS["prior"].functional(config.PriorTraining(model=model))
    return model, adapters.Adapted(functional, rank, 6.0, targets)


def random_params(module: adapters.Adapted, zero_up: bool = False):
    """(adapters, parameters of the base), by NumPy."""
    rng = np.random.default_rng(0)
    own = jax.eval_shape(module.init, jax.random.key(0))[0]

    def draw(path, leaf):
        return np.float32((path[-1].key != adapters.UP or not zero_up) * 0.2 * rng.standard_normal(leaf.shape))

    return jax.tree_util.tree_map_with_path(draw, own), jax.tree_util.tree_map_with_path(draw, dict(module.frozen))


def paths(tree) -> set[str]:
    return {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(tree)}


@pytest.mark.parametrize(
    ("targets", "layer", "expected"),
    [
        (("attention",), "relative", ["attention/out", "attention/qkv"]),
        (("mlp",), "relative", ["mlp/hidden/kernel", "mlp/out/kernel"]),
        (("mlp",), "lstm", ["attention/input", "attention/recurrent", "mlp/hidden/kernel", "mlp/out/kernel"]),
        (("attention",), "absolute", ["attention/out/kernel", "attention/qkv/kernel"]),
    ],
)
def test_what_is_targeted_is_read_off_the_declarations(targets, layer, expected):
    _, module = adapted(layer, targets)
    assert paths(module.declared) == {f"stack/layers/{name}/{part}" for name in expected for part in ("down", "up")}


def test_all_takes_every_matrix_and_nothing_else():
    _, module = adapted(targets=("all",), rank=1)
    declared = jax.tree.leaves_with_path(module.base.declared)
    matrices = {path for path, one in declared if one.role == parameters.MATRIX}
    assert {path[:-1] for path, _ in jax.tree.leaves_with_path(module.declared)} == matrices
    assert any("upsampler" in jax.tree_util.keystr(path) for path in matrices)  # with its convolutions


def test_shapes_axes_and_the_beginning():
    model, module = adapted()
    settings = model.transformer
    declared, shapes = (
        module.declared["stack"]["layers"]["attention"]["qkv"],
        jax.eval_shape(module.init, jax.random.key(0))[0],
    )
    qkv = shapes["stack"]["layers"]["attention"]["qkv"]
    assert qkv["down"].shape == (settings.num_layers, 3, settings.width, RANK)
    assert qkv["up"].shape == (settings.num_layers, 3, RANK, settings.num_heads, settings.head_dim)
    assert declared["down"].axes == ("layers", None, "width", None)
    assert declared["up"].axes == ("layers", None, None, "heads", None)
    assert module.num_parameters() == sum(leaf.size for leaf in jax.tree.leaves(shapes))
    params, buffers = module.init(jax.random.key(1))
    assert buffers == {}
    for path, leaf in jax.tree.leaves_with_path(params):
        spread = float(jnp.std(leaf))
        assert spread == 0 if path[-1].key == "up" else spread > 0.05


@pytest.mark.long
@pytest.mark.parametrize("layer", ["relative", "absolute", "lstm", "musicgen"])
def test_zero_adapters_are_the_base_bit_for_bit_and_others_are_merged_within_rounding(layer):
    model, module = adapted(layer)
    batch = tiny_musicgen.batch(model) if layer == "musicgen" else tiny_priors.batch(model)

    @jax.jit
    def logits(params):
        return module.bind(params, {})(batch)

    own, base = random_params(module, zero_up=True)
    expected = np.asarray(logits(base))
    np.testing.assert_array_equal(logits(module.whole(own, base)), expected)
    np.testing.assert_array_equal(logits(module.whole(own, base, merged=True)), expected)
    own, base = random_params(module)
    found = np.asarray(logits(module.whole(own, base)))
    np.testing.assert_allclose(found, logits(module.whole(own, base, merged=True)), rtol=2e-4, atol=2e-4)
    assert np.abs(found - expected).max() > 0.05


def test_only_products_that_know_it_stay_apart():
    _, module = adapted(targets=("all",), rank=1)
    own, base = random_params(module)
    whole = module.whole(own, base)
    assert isinstance(whole["stack"]["layers"]["attention"]["qkv"], LowRank)
    kept = jax.tree.leaves(whole, is_leaf=lambda leaf: isinstance(leaf, LowRank))
    assert 4 <= sum(isinstance(leaf, LowRank) for leaf in kept) < len(jax.tree.leaves(own)) // 2  # no convolution's
    assert not any(isinstance(leaf, LowRank) for leaf in jax.tree.leaves(module.whole(own, base, merged=True)))
    assert whole["codes"] is base["codes"]


@pytest.mark.parametrize("rank", [16, 17, 300])
def test_a_rank_that_is_none_of_a_low_one(rank):
    with pytest.raises(UserError, match=f"rank={rank}: must be less than 16, for it targets matrices of 16 x 16"):
        adapted(rank=rank)


def test_nothing_to_adapt():
    with pytest.raises(UserError, match="attention: this model has no such matrices; all takes all it has"):
        adapted("lstm", ("attention",), mlp_width=0)


def test_a_module_with_buffers_is_refused():
    functional = kinds.KINDS["vqvae"].functional(config.VQVAETraining())
    with pytest.raises(ValueError, match="buffers"):
        adapters.Adapted(functional, 1, 1.0, ("all",))
