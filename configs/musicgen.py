"""MusicGen (Copet et al. 2023): a prior over the codes of a residual tokenizer, told captions.

    python -m musicgen_jax.train_prior --config=configs/musicgen.py:scale=tiny --workdir=DIR --config.data.path=DIR \\
        --text_encoder=DIR

Scales: `tiny` (laptop CPU, minutes), and the published sizes: `small` (420 M parameters, one accelerator), `medium`
(1.8 B), `large` (3.3 B; `python -m musicgen_jax.plan` says on which pods). `tier`: the stream of the codes, `codes` of
EnCodec and DAC, `residual` of a residual VQ-VAE. Two channels by turns: --config.model.pattern=stereo_delay.

`text=false`: no captions. `score=true`: it is told which notes sound, hidden in 15 % of the windows. Labels are told
where the data have any.
"""

from musicgen_jax import config


def tiny(tier: str) -> config.MusicgenTraining:
    """About three million parameters; minutes of two CPU cores. Optimizer and rate are those of the tiny priors."""
    transformer = config.MusicgenTransformerConfig(
        num_layers=3, width=128, num_heads=4, head_dim=32, mlp_width=512, remat="none"
    )
    return config.MusicgenTraining(
        model=config.MusicgenConfig(tier=tier, context=250, transformer=transformer),
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


def published(tier: str, num_layers: int, width: int, text_dropout: float) -> config.MusicgenTraining:
    """The published sizes and recipe (section 3.1): windows of 30 s, 192 at a time, AdamW, weight decay 0.1."""
    transformer = config.MusicgenTransformerConfig(
        num_layers=num_layers, width=width, num_heads=width // 64, head_dim=64, mlp_width=4 * width
    )
    return config.MusicgenTraining(
        model=config.MusicgenConfig(tier=tier, loss_chunk=376, text_dropout=text_dropout, transformer=transformer),
        data=config.DataConfig(batch_size=192, num_workers=4),
        optimizer=config.OptimizerConfig(
            peak_learning_rate=1e-4, warmup_steps=4000, decay="cosine", b2=0.95, weight_decay=0.1
        ),
        training=config.TrainingConfig(
            num_steps=1_000_000,
            compute_dtype="bfloat16",
            ema_decay=0.99,
            log_every=100,
            eval_every=5000,
            checkpoint_every=1000,
        ),
    )


def small(tier: str) -> config.MusicgenTraining:
    """About 420 M parameters with cross-attention."""
    return published(tier, num_layers=24, width=1024, text_dropout=0.3)


def medium(tier: str) -> config.MusicgenTraining:
    """About 1.8 B parameters with cross-attention."""
    return published(tier, num_layers=48, width=1536, text_dropout=0.3)


def large(tier: str) -> config.MusicgenTraining:
    """About 3.3 B parameters with cross-attention."""
    return published(tier, num_layers=48, width=2048, text_dropout=0.2)


def get_config(arg: str | None = None) -> config.MusicgenTraining:
    """`arg` is "tier=TIER,scale=SCALE,text=BOOL,score=BOOL"."""
    options = config.parse_arg(arg, tier="codes", scale="tiny", text="true", score="false")
    scales = {"tiny": tiny, "small": small, "medium": medium, "large": large}
    run, truth = config.choose(scales, options["scale"])(options["tier"]), {"true": True, "false": False}
    run.model.text = config.choose(truth, options["text"], "text")
    if config.choose(truth, options["score"], "score"):
        run.model.score, run.model.score_dropout = True, 0.15
    return run
