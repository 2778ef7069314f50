"""Composer: a model of scores, which writes the music that audio priors perform.

    python -m musicgen_jax.train_prior --config=configs/symbolic.py:model=transformer,tokens=grid,scale=tiny \\
        --workdir=DIR --config.data.path=DIR

The data are what prepare_data or extract_codes wrote, with scores: chorales, recordings beside which .mid files lie, or
MIDI files alone (`prepare_data --dataset=midi`). Models: `transformer`, with relative attention, or `lstm`, layers of
about as many parameters in all. Tokens: `grid`, four voices on sixteenths, or `performance`, 388 events that play any
MIDI file. Scales: `tiny` (laptop CPU, minutes), `small` (about 25 M parameters, one accelerator).

`lyrics=true`: a composer of a grid is told the syllables that its melody has notes for (of scores with words: chorales,
MIDI files with lyric events), hidden in 15 % of the windows.
"""

from musicgen_jax import config


def tiny(tokens: str, transformer: config.TransformerConfig) -> config.ComposerTraining:
    """About a million parameters; minutes of two CPU cores. A window is six bars of four voices: as many tokens in
    windows half as long take two thirds of the time, and teach more."""
    return config.ComposerTraining(
        model=config.ComposerConfig(tokens=tokens, context=384, transformer=transformer),
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
        training=config.TrainingConfig(num_steps=400, log_every=20, eval_every=100, checkpoint_every=100),
    )


def small(tokens: str, transformer: config.TransformerConfig) -> config.ComposerTraining:
    """About 25 M parameters; the learning rate is the usual one of such models, not tuned."""
    transformer.dropout = 0.2
    return config.ComposerTraining(
        model=config.ComposerConfig(tokens=tokens, context=2048, label_dropout=0.1, transformer=transformer),
        data=config.DataConfig(batch_size=32, num_workers=4),
        optimizer=config.OptimizerConfig(
            peak_learning_rate=3e-4, warmup_steps=1000, decay="cosine", b2=0.98, weight_decay=0.01
        ),
        training=config.TrainingConfig(
            num_steps=50_000,
            compute_dtype="bfloat16",
            ema_decay=0.999,
            log_every=100,
            eval_every=1000,
            checkpoint_every=1000,
        ),
    )


LAYERS = {
    ("transformer", "tiny"): config.TransformerConfig(
        num_layers=3, width=128, num_heads=4, head_dim=32, mlp_width=512, dropout=0.1, remat="none"
    ),
    ("transformer", "small"): config.TransformerConfig(
        num_layers=8, width=512, num_heads=8, head_dim=64, mlp_width=2048, max_distance=1024
    ),
    ("lstm", "tiny"): config.TransformerConfig(
        layer="lstm", num_layers=2, width=192, num_heads=1, head_dim=1, mlp_width=0, dropout=0.1, remat="none"
    ),
    ("lstm", "small"): config.TransformerConfig(
        layer="lstm", num_layers=3, width=1024, num_heads=1, head_dim=1, mlp_width=0
    ),
}
SCALES = {"tiny": tiny, "small": small}


def get_config(arg: str | None = None) -> config.ComposerTraining:
    """`arg` is "model=MODEL,tokens=TOKENS,scale=SCALE,lyrics=BOOL"."""
    options = config.parse_arg(arg, model="transformer", tokens="grid", scale="tiny", lyrics="false")
    make = config.choose(SCALES, options["scale"])
    of_scale = {model: layers for (model, scale), layers in LAYERS.items() if scale == options["scale"]}
    transformer = config.choose(of_scale, options["model"], "model")
    config.choose(config.TOKENS, options["tokens"], "tokens")
    run = make(options["tokens"], transformer)
    if config.choose({"true": True, "false": False}, options["lyrics"], "lyrics"):
        run.model.lyrics, run.model.lyrics_dropout, run.model.lyrics_aligned = True, 0.15, True
        run.model.conditioner = config.ConditionerConfig(width=64, depth=3, dilation_growth=3, dilation_cycle=3)
    return run
