import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_priors

from musicgen_jax import config, pretrained
from musicgen_jax.compression import int8
from musicgen_jax.conversion import native
from musicgen_jax.nn import modules
from musicgen_jax.sampling import decode, logit_filters
from musicgen_jax.training import muon
from musicgen_jax.transformer import block, weights


@pytest.fixture(scope="module")
def prior():
    return tiny_priors.trained_prior(tiny_priors.model_config("middle"))


def quantized_names(params):
    leaves = jax.tree_util.tree_leaves_with_path(params, is_leaf=lambda x: isinstance(x, weights.QuantizedArray))
    return {
        "/".join(str(entry.key) for entry in path) for path, leaf in leaves if isinstance(leaf, weights.QuantizedArray)
    }


def test_every_matrix_that_a_step_multiplies(prior):
    attention = {f"stack/layers/attention/{name}" for name in ("qkv", "out", "distances")}
    mlp = {f"stack/layers/mlp/{name}/kernel" for name in ("hidden", "out")}
    params = jax.eval_shape(lambda params: int8.quantize(params, prior.functional.declared, "int8"), prior.weights[0])
    assert quantized_names(params) == attention | mlp | {"logits", "upsampler/project/kernel"}
    assert params["logits"].activations == "int8"
    assert params["stack"]["layers"]["attention"]["distances"].activations == "float"
    settings = prior.config.transformer
    assert params["stack"]["layers"]["attention"]["qkv"].scales.shape == (
        *(settings.num_layers, 1, 3),
        *(settings.num_heads, settings.head_dim),
    )
    assert params["stack"]["layers"]["attention"]["out"].scales.shape == (settings.num_layers, 1, 1, settings.width)


class GatedBlock(block.Block):
    """A block with one matrix more."""

    def __init__(self, settings, *arguments, dtype, rngs, **options):
        super().__init__(settings, *arguments, dtype=dtype, rngs=rngs, **options)
        self.gate = weights.Linear(settings.width, settings.width, dtype=dtype, rngs=rngs)

    def __call__(self, *arguments):
        x, cache = super().__call__(*arguments)
        return x * jax.nn.sigmoid(self.gate(x)), cache


@pytest.mark.long
def test_a_matrix_that_is_added_to_a_block_is_muons_and_in_the_int8_file(tmp_path, monkeypatch):
    monkeypatch.setattr(block, "Block", GatedBlock)
    gated = tiny_priors.trained_prior(tiny_priors.model_config("middle"))
    dimensions = muon.matrices(gated.functional.declared)["stack"]["layers"]["gate"]
    assert dimensions["kernel"].reduction_axis == (-2,) and dimensions["bias"] is None
    quantized = int8.quantize_prior(gated)
    params, buffers = quantized.weights
    run = config.PriorTraining(model=quantized.config)
    native.write(tmp_path, run, run.model, {"params": int8.stored(params), "buffers": buffers})
    loaded = pretrained.load_prior(str(tmp_path))
    kernel = loaded.weights[0]["stack"]["layers"]["gate"]["kernel"]
    assert kernel.values.dtype == jnp.int8 and kernel.values.shape == (2, 16, 16)
    batch = tiny_priors.batch(gated.config)
    predict = jax.jit(lambda functional, weights: functional.bind(*weights)(batch), static_argnums=0)
    found, expected = predict(loaded.functional, loaded.weights), predict(gated.functional, gated.weights)
    assert np.abs(found - expected).max() > 0 and np.corrcoef(np.ravel(found), np.ravel(expected))[0, 1] > 0.99


@pytest.mark.parametrize("activations", ["float", "int8"])
def test_predictions_are_those_of_the_rounded_weights(prior, activations):
    quantized = int8.quantize_prior(prior, activations)
    batch = tiny_priors.batch(prior.config)
    params = jax.tree.map(
        weights.dense, quantized.weights[0], is_leaf=lambda leaf: isinstance(leaf, weights.QuantizedArray)
    )
    predict = jax.jit(lambda weights, batch: prior.functional.bind(*weights)(batch))
    rounded = predict((params, prior.weights[1]), batch)
    found = predict(quantized.weights, batch)
    if activations == "float":
        np.testing.assert_allclose(found, rounded, atol=2e-4)
    else:
        assert np.abs(found - rounded).max() > 1e-3  # the activations are rounded, too ...
        assert np.corrcoef(np.ravel(found), np.ravel(rounded))[0, 1] > 0.999  # ... and matter little


def test_checkpoint_form_and_back(prior):
    params = int8.quantize(prior.weights[0], prior.functional.declared, "int8")
    stored = int8.stored(params)
    assert stored["logits"].keys() == {"values", "scales"}
    abstract = jax.eval_shape(lambda params: int8.quantize(params, prior.functional.declared, "int8"), prior.weights[0])
    back = int8.loaded(abstract, stored)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    assert modules.fingerprint(back, {}) == modules.fingerprint(params, {})


def test_fingerprint_sees_one_level(prior):
    params = int8.quantize(prior.weights[0], prior.functional.declared)
    logits = params["logits"]
    other = params | {"logits": dataclasses.replace(logits, values=logits.values.at[0, 0].add(jnp.int8(1)))}
    assert modules.fingerprint(params, {}) != modules.fingerprint(other, {})


def test_int8_twice(prior):
    with pytest.raises(ValueError, match="int8 already"):
        int8.quantize_prior(int8.quantize_prior(prior))


@pytest.mark.long
@pytest.mark.parametrize("activations", ["float", "int8"])
def test_steps_with_a_cache_are_the_whole_window(prior, activations):
    quantized = int8.quantize_prior(prior, activations)
    context = prior.config.context
    settings = logit_filters.Settings(
        temperature=jnp.ones((2, context)), top_p=jnp.ones(2), top_k=jnp.full(2, 1, jnp.int32), guidance=jnp.ones(2)
    )
    batch, zeros, whole = tiny_priors.batch(prior.config), np.zeros(2, np.int32), np.full(2, context, np.int32)
    keys = jax.random.split(jax.random.key(0), 2)
    sample_window = decode.make_sample_window(quantized.functional)
    codes = sample_window(quantized.weights, batch, zeros, whole, keys, zeros, settings)
    predict = jax.jit(lambda weights, batch: prior.functional.bind(*weights)(batch))
    expected = predict(quantized.weights, batch | {"codes": codes})
    np.testing.assert_array_equal(codes, np.argmax(expected, axis=-1))
    assert len(np.unique(codes)) > 1
