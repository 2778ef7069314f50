"""Floating point operations of a training step of a model over codes, by formula; see `nn.flops` for what counts."""

import itertools
import operator

from musicgen_jax import config
from musicgen_jax.conditions import above, lyrics, score
from musicgen_jax.nn.flops import StepFlops


def prior_step_flops(model: config.PriorConfig, batch_size: int) -> StepFlops:
    """Of a prior, or of a diffusion model, whose codes see twice as many. Causal attention is counted as the half that
    it is; `model.transformer.remat` and `loss_chunk` decide what is done again."""
    transformer = model.transformer
    projections, logits, values = _block_macs(model)
    block = projections + 2 * logits + values  # codes and distances against the queries, then the mix
    output = transformer.width * model.num_codebooks * model.num_codes
    conditioner = _conditioner_macs(model) * model.context / model.num_steps
    memory_projections, memory_mix = _memory_macs(model)
    projections, block = projections + memory_projections, block + memory_projections + memory_mix
    forward = transformer.num_layers * block + output + conditioner
    again = {"none": 0.0, "dots": block - projections, "full": block, "offload": block}[transformer.remat]
    if transformer.layer == "relative" and transformer.attention != "reference":
        again += 2 * logits  # the backward pass of blockwise attention never had the logits of the forward pass
    recomputed = transformer.num_layers * again + (output if model.loss_chunk else 0)
    num_steps = batch_size * model.num_steps
    return StepFlops(model=6 * forward * num_steps, recomputed=2 * recomputed * num_steps)


def _block_macs(model: config.PriorConfig) -> tuple[float, float, float]:
    """Multiply-accumulates of a block for one step: projections and MLP, logits, values. Distances count as logits, up
    to the furthest that is known."""
    settings, context = model.transformer, model.num_steps
    if settings.layer == "lstm":
        return settings.width * (8 * settings.width + 2 * settings.mlp_width), 0.0, 0.0
    inner = settings.num_heads * settings.head_dim
    projections = settings.width * (4 * inner + 2 * settings.mlp_width)
    limit = settings.window + 1 if settings.window else context
    ways = 1 if model.causal else 2
    seen = ways * _mean_seen(context, limit)
    distances = ways * _mean_seen(context, min(settings.max_distance or context, limit))
    distances *= settings.layer == "relative"
    return projections, inner * (seen + distances) / 2, inner * seen


def _memory_macs(model: config.PriorConfig) -> tuple[float, float]:
    """Multiply-accumulates of a block's attention to the lyrics for one step: projections, logits and values."""
    if not model.lyrics:
        return 0.0, 0.0
    settings, rows = model.transformer, model.lyric_tokens + 1
    inner = settings.num_heads * settings.head_dim
    return 2 * inner * settings.width * (1 + rows / model.num_steps), 2 * inner * rows


def _mean_seen(context: int, limit: int) -> float:
    """Mean over the positions t of min(t + 1, limit)."""
    limit = min(limit, context)
    return (limit * (limit + 1) / 2 + (context - limit) * limit) / context


def _conditioner_macs(model: config.PriorConfig) -> float:
    """Of what an upsampler is told of the stream above and a prior of the score and of what is sung, for each frame of
    its own."""
    inputs = score.num_planes(model.score_ahead) * score.PITCHES if model.score else 0
    inputs += model.conditioner.width + lyrics.TIME_FEATURES if model.lyrics and model.lyrics_aligned else 0
    of_frames = float(inputs * model.transformer.width)
    if not model.upsampling:
        return of_frames
    width, depth = model.conditioner.width, model.conditioner.depth
    residual = depth * (3 + 1) * width**2 / model.upsampling
    # A transposed convolution of 2 * stride taps has two products for each output. The last one has an output a frame
    # of this stream, the one before it so much less as the last one's stride is, and so on.
    outputs = itertools.accumulate(above.strides(model.upsampling)[:0:-1], operator.truediv, initial=1.0)
    upsampling = 2 * width**2 * sum(outputs)
    return residual + upsampling + width * model.transformer.width + of_frames
