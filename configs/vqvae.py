"""Tokenizers.

    python -m musicgen_jax.train_vqvae --config=configs/vqvae.py:scale=tiny --workdir=DIR --config.data.path=DIR

Kinds: `vqvae` (three streams of one codebook each), `residual` (one stream of four codebooks) and `tones` (likewise;
its codes tell how loud each semitone is and nothing of phase, and sines and noise play that).
Scales: `tiny` (16 kHz, minutes on a laptop CPU) and `base` (44.1 kHz, accelerators; `vqvae` alone).
"""

from musicgen_jax import config


def tiny() -> config.VQVAETraining:
    """16 kHz; about four minutes of two CPU cores. Optimizer and rate are those of benchmarks/optimizers.py that learn
    most in so many steps."""
    sizes = {"width": 32, "depth": 2, "dilation_growth": 3}
    model = config.VQVAEConfig(
        sample_rate=16000,
        top=config.TierConfig(downsampling=(3, 2, 2), **sizes),
        middle=config.TierConfig(downsampling=(3, 2), **sizes),
        bottom=config.TierConfig(downsampling=(3,), **sizes | {"width": 24}),
        quantizer=config.QuantizerConfig(num_codes=1024, code_width=64, ema_decay=0.9),
    )
    return config.VQVAETraining(
        model=model,
        clip_samples=8192,
        data=config.DataConfig(batch_size=4),
        optimizer=config.OptimizerConfig(
            name="muon", peak_learning_rate=1e-2, warmup_steps=20, decay="cosine", final_fraction=0.02, b2=0.99
        ),
        training=config.TrainingConfig(num_steps=750, log_every=20, eval_every=250, checkpoint_every=150),
    )


def base() -> config.VQVAETraining:
    """44.1 kHz: the published sizes (Dhariwal et al. 2020); 10 s clips, batch 32."""
    sizes = {"width": 32, "depth": 4, "dilation_growth": 3}
    model = config.VQVAEConfig(
        top=config.TierConfig(downsampling=(3, 2, 2), **sizes),
        middle=config.TierConfig(downsampling=(3, 2), **sizes),
        bottom=config.TierConfig(downsampling=(3,), width=64, depth=8, dilation_growth=3),
    )
    return config.VQVAETraining(
        model=model,
        clip_samples=440_960,
        data=config.DataConfig(batch_size=32, num_workers=4),
        optimizer=config.OptimizerConfig(peak_learning_rate=1e-4, warmup_steps=100),
        training=config.TrainingConfig(
            num_steps=400_000, log_every=100, eval_every=5000, checkpoint_every=2000, ema_decay=0.999
        ),
    )


def tiny_residual() -> config.ResidualVQVAETraining:
    """16 kHz; 50 frames of four codes a second, 1.6 kbit/s. The recipe is that of `tiny`."""
    recipe = tiny()
    model = config.ResidualVQVAEConfig(
        sample_rate=16000,
        residual=config.TierConfig(downsampling=(4,), strides=(2, 4, 5, 8), width=32, depth=2, dilation_growth=3),
        quantizer=config.QuantizerConfig(
            num_codes=256, num_codebooks=4, codebook_dropout=0.25, code_width=64, ema_decay=0.9
        ),
    )
    return config.ResidualVQVAETraining(
        model=model,
        clip_samples=16_000,
        data=config.DataConfig(batch_size=8),
        optimizer=recipe.optimizer,
        training=recipe.training,
    )


def tiny_tones() -> config.ResidualVQVAETraining:
    """16 kHz; 31 frames of four codes a second, 1 kbit/s, played by 72 sines a semitone apart and filtered noise."""
    recipe = tiny_residual()
    model = recipe.model
    model.residual = config.TierConfig(
        downsampling=(4,), strides=(4, 4, 4, 8), width=128, depth=2, dilation_growth=3, features="semitones"
    )
    model.decoder = "ddsp"
    model.ddsp = config.DDSPConfig(
        oscillators="semitones",
        hop_length=512,
        num_voices=72,
        num_harmonics=1,
        num_formants=0,
        depth=2,
        reverb_seconds=0.0,
    )
    recipe.loss = config.LossConfig(l2=0.0, spectral=1.0, log_spectral=0.1)
    recipe.clip_samples = 16_384
    recipe.training.num_steps = 400
    return recipe


SCALES = {"vqvae": {"tiny": tiny, "base": base}, "residual": {"tiny": tiny_residual}, "tones": {"tiny": tiny_tones}}


def get_config(arg: str | None = None) -> config.VQVAETraining:
    """`arg` is "scale=SCALE,kind=KIND"."""
    options = config.parse_arg(arg, scale="tiny", kind="vqvae")
    return config.choose(config.choose(SCALES, options["kind"], "kind"), options["scale"])()
