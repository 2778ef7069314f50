"""Floating point operations of the VQ-VAE's convolutions and of its search for the nearest code.

A multiplication and an addition are two operations. What is not a matrix product (ReLU, residual sums, spectra, Adam)
is left out: on every machine it is bound by memory, not by arithmetic.
"""

from musicgen_jax import config


def encoder_macs(tier: config.TierConfig, code_width: int) -> float:
    """Multiply-accumulates of one tier's encoder for each sample of audio."""
    total, length, channels = 0.0, 1.0, 1  # length: frames for each sample
    for strides in tier.block_strides:
        for stride in strides:
            length /= stride
            total += length * (2 * stride * channels * tier.width + _residual_macs(tier))
            channels = tier.width
        total += length * 3 * channels * code_width
        channels = code_width
    return total


def decoder_macs(tier: config.TierConfig, code_width: int) -> float:
    """Multiply-accumulates of one tier's decoder for each sample of audio."""
    total, length = 0.0, 1 / tier.hop_length
    for strides in reversed(tier.block_strides):
        total += length * 3 * code_width * tier.width
        for step, stride in enumerate(reversed(strides)):
            channels = code_width if step == len(strides) - 1 else tier.width
            # The transposed convolution of 2 * stride taps has two products for each output.
            total += length * (_residual_macs(tier) + 2 * stride * tier.width * channels)
            length *= stride
    return total + 3 * code_width  # to one channel


def step_flops(model: config.VQVAEConfig, batch_size: int, num_samples: int) -> float:
    """Operations of one training step: forward, and twice as many backward (gradients of inputs and of weights).

    The search of the codebook has no gradient. The gradient of the waveform itself, which nobody needs, is counted: it
    is less than a thousandth.
    """
    per_sample = 0.0
    code_width = model.quantizer.code_width
    for tier in model.streams.values():
        search = model.quantizer.num_codebooks * model.quantizer.num_codes * code_width / tier.hop_length
        per_sample += 2 * search + 6 * (encoder_macs(tier, code_width) + decoder_macs(tier, code_width))
    return batch_size * num_samples * per_sample


def _residual_macs(tier: config.TierConfig) -> int:
    """Of the residual stack, for each of its frames: convolutions of 3 taps and of one."""
    return tier.depth * (3 + 1) * tier.width**2
