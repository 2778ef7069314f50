"""Counted operations against XLA's own count and against a sum by hand."""

import importlib.util
import pathlib
import types

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from tiny_layouts import TIERS

from musicgen_jax import config
from musicgen_jax.tokenizers.vqvae import decoder, encoder

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def vqvae_flops() -> types.ModuleType:
    """benchmarks/vqvae_flops.py: the benchmarks are no package that is installed."""
    spec = importlib.util.spec_from_file_location("vqvae_flops", REPOSITORY / "benchmarks" / "vqvae_flops.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
@pytest.mark.parametrize("downsampling", [(2,), (1, 2)])
def test_a_tier_agrees_with_xla(vqvae_flops, downsampling):
    tier = config.TierConfig(downsampling=downsampling, width=48, depth=2, dilation_growth=2)
    num_samples, code_width = 4096, 32

    def xla_flops(module: nnx.Module, shape: tuple[int, ...]) -> float:
        lowered = jax.jit(lambda x: module(x)).lower(jax.ShapeDtypeStruct(shape, jnp.float32))
        return lowered.cost_analysis()["flops"]

    encoding = xla_flops(encoder.Encoder(tier, code_width, dtype=jnp.float32, rngs=nnx.Rngs(0)), (1, num_samples))
    frames = (1, num_samples // tier.hop_length, code_width)
    decoding = xla_flops(decoder.Decoder(tier, code_width, dtype=jnp.float32, rngs=nnx.Rngs(0)), frames)
    # XLA adds biases, ReLU and residual sums, about three operations for each of some hundred products, and leaves out
    # what falls into the padding.
    assert 2 * num_samples * vqvae_flops.encoder_macs(tier, code_width) == pytest.approx(encoding, rel=0.03)
    assert 2 * num_samples * vqvae_flops.decoder_macs(tier, code_width) == pytest.approx(decoding, rel=0.03)


def test_a_step_by_hand(vqvae_flops):
    tiers = {
        name: config.TierConfig(downsampling=(n,), width=2, depth=1) for n, name in zip((3, 2, 1), TIERS, strict=True)
    }
    model = config.VQVAEConfig(**tiers, quantizer=config.QuantizerConfig(num_codes=16, code_width=4))
    residual = 16  # 3 * 2 * 2 + 2 * 2
    # Of the bottom tier, 1/2 frame a sample: downsampling 1 -> 2, projection 2 -> 4, projection 4 -> 2, upsampling
    # 2 -> 4; then 4 -> 1 for each sample. The tiers above add one and two halvings and doublings 2 -> 2.
    bottom = 0.5 * (8 + residual + 24) + 0.5 * (24 + residual + 32) + 12
    middle = (
        0.5 * (8 + residual) + 0.25 * (16 + residual + 24) + 0.25 * (24 + residual + 16) + 0.5 * (residual + 32) + 12
    )
    top = 0.5 * (8 + residual) + 0.25 * (16 + residual) + 0.125 * (16 + residual + 24)
    top += 0.125 * (24 + residual + 16) + 0.25 * (residual + 16) + 0.5 * (residual + 32) + 12
    search = 2 * 16 * 4 * (1 / 8 + 1 / 4 + 1 / 2)
    assert vqvae_flops.step_flops(model, 3, 80) == pytest.approx(240 * (6 * (bottom + middle + top) + search))
