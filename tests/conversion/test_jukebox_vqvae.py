"""The converted VQ-VAE computes what the published one does: at reduced size, from a golden file."""

import dataclasses
import math

import jax
import jukebox_oracle
import numpy as np
import published_files
import pytest
from flax import nnx
from tiny_layouts import TIERS

from musicgen_jax import config
from musicgen_jax.conversion import jukebox_vqvae, native, weight_table
from musicgen_jax.tokenizers.vqvae import decoder, encoder

PUBLISHED_PARAMETERS = {"bottom": (441_856, 458_177), "middle": (116_384, 124_641), "top": (168_224, 176_481)}


@pytest.fixture(scope="module")
def functional():
    return published_files.vqvae_functional(published_files.tiny_run().model)


@pytest.fixture(scope="module")
def golden():
    with np.load(jukebox_oracle.GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def model(functional, golden):
    """The tiny VQ-VAE with the golden file's codebooks, from published arrays."""
    run = published_files.tiny_run()
    tensors = published_files.vqvae_tensors(run.model)
    for tier, level in jukebox_vqvae.LEVELS.items():
        tensors[f"bottleneck.level_blocks.{level}.k"] = golden[f"{tier}/codebook"]
    tree = weight_table.to_native(jukebox_vqvae.weights(run.model), tensors, native.abstract(functional))
    jukebox_vqvae.add_codebook_averages(tree, run)
    assert jax.tree.structure(tree) == jax.tree.structure(native.abstract(functional))
    return functional.bind(tree["params"], tree["buffers"])


@pytest.mark.long
@pytest.mark.parametrize("tier", TIERS)
def test_codes_and_audio_are_the_published_models(tier, model, golden):
    codes = model.encode(golden["input"][None])[tier][0, :, 0]
    np.testing.assert_array_equal(codes, golden[f"{tier}/codes"])
    assert len(np.unique(codes)) > 12
    audio = model.tier(tier).decode(golden[f"{tier}/codes"][None, :, None].astype(np.int32))[0]
    np.testing.assert_allclose(audio, golden[f"{tier}/audio"], atol=1e-5)
    assert np.std(golden[f"{tier}/audio"]) > 0.1


def test_averages_are_of_uniform_usage(model):
    for tier, hop in (("top", 16), ("middle", 8), ("bottom", 4)):
        quantizer = model.tier(tier).quantizer
        counts, entries = np.asarray(quantizer.counts[...]), np.asarray(quantizer.entries[...])
        np.testing.assert_allclose(counts, 256 * 393_216 / hop / 32, rtol=1e-6)
        np.testing.assert_allclose(np.asarray(quantizer.sums[...]) / counts[:, None], entries, rtol=1e-6)


def test_the_table_has_every_published_array_once():
    table = jukebox_vqvae.weights(jukebox_vqvae.released().model)
    assert len({weight.name for weight in table}) == len({weight.path for weight in table}) == len(table) == 666 + 3
    jukebox_vqvae.released().model.validate()


def test_the_released_config_has_the_published_sizes():
    run = jukebox_vqvae.released()
    abstract = native.abstract(published_files.vqvae_functional(run.model))

    def count(tree):
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))

    assert count(abstract["params"]) == 1_485_763
    assert sum(count(tier["quantizer"]["entries"]) for tier in abstract["buffers"].values()) == 393_216
    for tier, expected in PUBLISHED_PARAMETERS.items():
        params = abstract["params"][tier]
        assert (count(params["encoder"]), count(params["decoder"])) == expected


def test_dilations_reach_2187_at_the_bottom_and_are_reversed_in_the_decoder():
    tier = dataclasses.replace(jukebox_vqvae.released().model.bottom, width=1)
    parts = [
        part(tier, 1, dtype=jax.numpy.float32, rngs=nnx.Rngs(0)).blocks[0]
        for part in (encoder.Encoder, decoder.Decoder)
    ]
    dilations = [[block.dilated.kernel_dilation for block in part.stacks[2].blocks] for part in parts]
    assert dilations[0] == [1, 3, 9, 27, 81, 243, 729, 2187]
    assert dilations[1] == dilations[0][::-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": "conv+ddsp"}, "decoder=conv[+]ddsp: Jukebox's files hold"),
        ({"quantizer": config.QuantizerConfig(kind="gradient")}, "kind=gradient, .*: Jukebox's files hold"),
        (
            {"quantizer": config.QuantizerConfig(num_codebooks=2)},
            "num_codebooks=2, .*: Jukebox's files hold one codebook",
        ),
        ({"bottom": config.TierConfig((2,), strides=(2, 4))}, "strides of 2, 4: Jukebox's files hold"),
    ],
)
def test_parts_that_jukebox_has_not(changes, message):
    with pytest.raises(ValueError, match=message):
        jukebox_vqvae.weights(config.VQVAEConfig(**changes))


def test_strides_that_are_said_are_the_published_ones_where_each_is_2():
    plain, said = config.VQVAEConfig(), config.VQVAEConfig()
    for tier in said.streams.values():
        tier.strides = (2,) * sum(tier.downsampling)
    said.validate()
    assert jukebox_vqvae.weights(said) == jukebox_vqvae.weights(plain)
