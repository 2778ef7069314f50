"""Prior over the codes of one tier.

    python -m musicgen_jax.train_prior --config=configs/prior.py:tier=top,scale=tiny \\
        --workdir=DIR --config.data.path=DIR

Tiers: the streams of the tokenizer's codes: `top`, `middle` and `bottom`, or `residual` of a residual one, whose codes
of a frame are predicted in the pattern "delay" (`--config.model.pattern=flat`: one by one). Scales: `tiny` (laptop
CPU), `small` (about 150 M at the top, one accelerator), `1b` and `5b` (pods). An upsampler's conditioner adds about
80 M at the scales above tiny.

`score=true`: the prior is told which notes sound (codes of data with scores: chorales, or recordings with .mid files
beside them); hidden in 15 % of the windows, so that it also plays without a score, and is guided by one. `lyrics=true`:
it is told the words around its window, and in each frame what is sung (codes of recordings with .lrc or .txt files
beside them), hidden likewise.

The larger scales have the founding AdamW; `--config.optimizer.name=muon` trains them by Muon, whose best rate is a few
times AdamW's (`--config.optimizer.peak_learning_rate=...`; at scale tiny 1.6e-2 beside 3e-3, docs/results.md).
"""

from musicgen_jax import config


def tiny(tier: str) -> config.PriorTraining:
    """About a million parameters; a minute of two CPU cores. Optimizer and rate are those of benchmarks/optimizers.py
    that learn most in so many steps."""
    transformer = config.TransformerConfig(
        num_layers=3, width=128, num_heads=4, head_dim=32, mlp_width=512, remat="none"
    )
    return config.PriorTraining(
        model=config.PriorConfig(
            tier=tier,
            context=256,
            transformer=transformer,
            conditioner=config.ConditionerConfig(width=64, depth=3, dilation_growth=3, dilation_cycle=3),
        ),
        data=config.DataConfig(batch_size=8),
        optimizer=config.OptimizerConfig(
            name="muon",
            peak_learning_rate=1.6e-2,
            warmup_steps=20,
            decay="cosine",
            final_fraction=0.02,
            b2=0.98,
            weight_decay=0.01,
        ),
        training=config.TrainingConfig(num_steps=300, log_every=20, eval_every=100, checkpoint_every=100),
    )


def large(tier: str, transformer: config.TransformerConfig, batch_size: int) -> config.PriorTraining:
    """The founding recipe: context 8192, AdamW, weight decay 0.002, 10k warm-up steps, bfloat16."""
    return config.PriorTraining(
        model=config.PriorConfig(tier=tier, context=8192, loss_chunk=1024, transformer=transformer),
        data=config.DataConfig(batch_size=batch_size, num_workers=4),
        optimizer=config.OptimizerConfig(
            peak_learning_rate=1.5e-4, warmup_steps=10_000, decay="cosine", b2=0.95, weight_decay=0.002
        ),
        training=config.TrainingConfig(
            num_steps=300_000,
            compute_dtype="bfloat16",
            ema_decay=0.999,
            log_every=100,
            eval_every=5000,
            checkpoint_every=1000,
        ),
    )


def small(tier: str) -> config.PriorTraining:
    """About 150 M parameters at the top."""
    transformer = config.TransformerConfig(
        num_layers=24, width=768, num_heads=6, head_dim=128, mlp_width=2048, max_distance=1024
    )
    return large(tier, transformer, batch_size=32)


def one_billion(tier: str) -> config.PriorTraining:
    """About 1 B parameters at the top."""
    transformer = config.TransformerConfig(
        num_layers=72, width=2048, num_heads=4, head_dim=128, mlp_width=2048, max_distance=1024
    )
    return large(tier, transformer, batch_size=256)


def five_billion(tier: str) -> config.PriorTraining:
    """About 5 B parameters at the top (width 4800); the upsamplers are 1920 wide."""
    width = 1920 if tier in ("middle", "bottom") else 4800
    transformer = config.TransformerConfig(
        num_layers=72, width=width, num_heads=10, head_dim=128, mlp_width=width, max_distance=1024
    )
    return large(tier, transformer, batch_size=512)


def get_config(arg: str | None = None) -> config.PriorTraining:
    """`arg` is "tier=TIER,scale=SCALE,score=BOOL,lyrics=BOOL"."""
    options = config.parse_arg(arg, tier="top", scale="tiny", score="false", lyrics="false")
    scales = {"tiny": tiny, "small": small, "1b": one_billion, "5b": five_billion}
    run = config.choose(scales, options["scale"])(options["tier"])
    if config.choose({"true": True, "false": False}, options["score"], "score"):
        run.model.score, run.model.score_dropout = True, 0.15
    if config.choose({"true": True, "false": False}, options["lyrics"], "lyrics"):
        run.model.lyrics, run.model.lyrics_dropout, run.model.lyrics_aligned = True, 0.15, True
    return run
