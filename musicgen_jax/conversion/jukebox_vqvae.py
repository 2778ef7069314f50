"""The VQ-VAE of Jukebox: its config, and where its weights lie. Facts from the released key names and shapes."""

import numpy as np

from musicgen_jax import config
from musicgen_jax.conversion import weight_table

LEVELS = {"bottom": 0, "middle": 1, "top": 2}  # the original and Hugging Face number the tokenizer's tiers alike


def released() -> config.VQVAETraining:
    """Sizes and training settings of the one VQ-VAE that was published (Dhariwal et al. 2020, appendix B)."""
    return config.VQVAETraining(
        model=config.VQVAEConfig(
            sample_rate=44100,
            top=config.TierConfig(downsampling=(3, 2, 2), width=32, depth=4, dilation_growth=3),
            middle=config.TierConfig(downsampling=(3, 2), width=32, depth=4, dilation_growth=3),
            bottom=config.TierConfig(downsampling=(3,), width=64, depth=8, dilation_growth=3),
            quantizer=config.QuantizerConfig(kind="ema", num_codes=2048, code_width=64, ema_decay=0.99),
        ),
        loss=config.LossConfig(l2=1.0, linf=0.02, linf_k=2048, spectral=1.0, commitment=0.02),
        clip_samples=393_216,
        data=config.DataConfig(batch_size=256),
        optimizer=config.OptimizerConfig(peak_learning_rate=3e-4, warmup_steps=100),
    )


def weights(model: config.VQVAEConfig) -> list[weight_table.Weight]:
    """The table of a VQ-VAE of any size.

    Raises:
      UserError: another quantizer or decoder than Jukebox's, for which its files have no place.
    """
    config.require(
        model.quantizer.kind == "ema" and model.decoder == "conv",
        f"quantizer.kind={model.quantizer.kind}, decoder={model.decoder}: Jukebox's files hold quantizer.kind=ema and "
        "decoder=conv only",
    )
    strides = {stride for tier in LEVELS for block in model.streams[tier].block_strides for stride in block}
    config.require(
        model.quantizer.num_codebooks == 1 and strides == {2},
        f"quantizer.num_codebooks={model.quantizer.num_codebooks}, strides of {', '.join(map(str, sorted(strides)))}: "
        "Jukebox's files hold one codebook and strides of 2 only",
    )
    table = []
    for tier, level in LEVELS.items():
        table += _encoder(f"encoders.{level}", ("params", tier, "encoder"), model.streams[tier])
        table += _decoder(f"decoders.{level}", ("params", tier, "decoder"), model.streams[tier])
        table.append(
            weight_table.Weight(f"bottleneck.level_blocks.{level}.k", ("buffers", tier, "quantizer", "entries"))
        )
    return table


def add_codebook_averages(tree: weight_table.Tree, run: config.VQVAETraining) -> None:
    """Adds the moving averages that the published file leaves out, in place.

    As in Jukebox, every code gets the count of uniform usage at the batch of `run`; the sums follow from the entries.
    """
    for tier, hop in run.model.hop_lengths.items():
        quantizer = tree["buffers"][tier]["quantizer"]
        tokens_per_step = run.data.batch_size * run.clip_samples / hop
        counts = np.full(len(quantizer["entries"]), tokens_per_step / run.model.quantizer.num_codes, np.float32)
        quantizer |= {"counts": counts, "sums": quantizer["entries"] * counts[:, None]}


def _encoder(name: str, path: weight_table.Path, tier: config.TierConfig) -> list[weight_table.Weight]:
    table = []
    for block, num_steps in enumerate(tier.downsampling):
        prefix, owner = f"{name}.level_blocks.{block}.model", (*path, "blocks", block)
        for step in range(num_steps):
            table += weight_table.convolution(f"{prefix}.{step}.0", (*owner, "downsampling", step, "conv"))
            table += _residual_stack(f"{prefix}.{step}.1", (*owner, "stacks", step), tier.depth)
        table += weight_table.convolution(f"{prefix}.{num_steps}", (*owner, "project"))
    return table


def _decoder(name: str, path: weight_table.Path, tier: config.TierConfig) -> list[weight_table.Weight]:
    table = []
    for block, num_steps in enumerate(reversed(tier.downsampling)):
        # Published in the encoder's order, run in the reverse one; ours lie in the order in which they run.
        prefix = f"{name}.level_blocks.{len(tier.downsampling) - 1 - block}.model"
        owner = (*path, "blocks", block)
        table += weight_table.convolution(f"{prefix}.0", (*owner, "project"))
        for step in range(num_steps):
            # The stack's blocks are published in the order in which they run, the largest dilation first, as ours.
            table += _residual_stack(f"{prefix}.{step + 1}.0", (*owner, "stacks", step), tier.depth)
            table += weight_table.upsampling(f"{prefix}.{step + 1}.1", (*owner, "upsampling", step))
    return table + weight_table.convolution(f"{name}.out", (*path, "out"))


def _residual_stack(name: str, path: weight_table.Path, depth: int) -> list[weight_table.Weight]:
    return [
        weight
        for block in range(depth)
        for number, part in ((1, "dilated"), (3, "project"))
        for weight in weight_table.convolution(f"{name}.model.{block}.model.{number}", (*path, "blocks", block, part))
    ]
