"""The Descript Audio Codec (Kumar et al. 2023).

    python -m musicgen_jax.train_vqvae --config=configs/dac.py:scale=tiny --workdir=DIR --config.data.path=DIR

Scales: `tiny` (16 kHz, minutes on a laptop CPU) and the published ones, `16khz`, `24khz` and `44khz` (accelerators).
"""

import math

from musicgen_jax import config


def losses(num_codebooks: int) -> config.LossConfig:
    """The published weights: mel 15, commitment 0.25, codebook 1.

    There seven mel scales are summed, in decimal logarithms, and the codebooks are summed; here all are means, and
    logarithms natural.
    """
    return config.LossConfig(
        l2=0.0,
        spectral=0.0,
        mel=15 * 7 / math.log(10),
        commitment=0.25 * num_codebooks,
        codebook=1.0 * num_codebooks,
    )


def published(sample_rate: int, strides: tuple[int, ...], num_codebooks: int, clip_samples: int) -> config.DACTraining:
    """The published sizes and recipe: 0.38 s clips, batch 72, discriminators of bands and of periods."""
    model = config.DACConfig(sample_rate=sample_rate, strides=strides)
    model.quantizer.num_codebooks = num_codebooks
    return config.DACTraining(
        model=model,
        loss=losses(num_codebooks),
        adversarial=config.AdversarialConfig(
            weight=1.0,
            feature_matching=2.0,
            bands=(0.1, 0.25, 0.5, 0.75),
            periods=(2, 3, 5, 7, 11),
            objective="squares",
            normalize=True,
            balance_decay=0.0,
        ),
        clip_samples=clip_samples,
        data=config.DataConfig(batch_size=72, num_workers=4),
        # There the rate falls by a factor of 0.999996 a step, to a fifth in all.
        optimizer=config.OptimizerConfig(
            peak_learning_rate=1e-4,
            decay="cosine",
            final_fraction=0.2,
            b1=0.8,
            b2=0.99,
            weight_decay=0.01,
            clip_norm=1000.0,
        ),
        training=config.TrainingConfig(num_steps=400_000, log_every=100, eval_every=5000, checkpoint_every=2000),
    )


def tiny() -> config.DACTraining:
    """16 kHz; 50 frames of four codes a second, 1.6 kbit/s. Without discriminators, which cost more than the codec:
    --config.adversarial.weight=1 turns small ones on."""
    model = config.DACConfig(
        sample_rate=16000,
        strides=(2, 4, 5, 8),
        encoder_width=8,
        decoder_width=128,
        quantizer=config.QuantizerConfig(
            kind="normalized",
            num_codes=256,
            num_codebooks=4,
            codebook_dropout=0.5,
            code_width=64,
            lookup_width=8,
            ema_decay=0.9,
        ),
    )
    return config.DACTraining(
        model=model,
        loss=losses(4),
        adversarial=config.AdversarialConfig(
            feature_matching=2.0,
            fft_sizes=(512, 128),
            bands=(0.25, 0.5),
            periods=(2, 3, 5),
            width=4,
            objective="squares",
            normalize=True,
            balance_decay=0.0,
        ),
        clip_samples=8_000,
        data=config.DataConfig(batch_size=8),
        optimizer=config.OptimizerConfig(
            name="muon", peak_learning_rate=1e-2, warmup_steps=20, decay="cosine", final_fraction=0.02, b2=0.99
        ),
        training=config.TrainingConfig(num_steps=750, log_every=20, eval_every=250, checkpoint_every=150),
    )


SCALES = {
    "tiny": tiny,
    "16khz": lambda: published(16_000, (2, 4, 5, 8), 12, 6_080),
    "24khz": lambda: published(24_000, (2, 4, 5, 8), 32, 9_280),
    "44khz": lambda: published(44_100, (2, 4, 8, 8), 9, 16_896),
}


def get_config(arg: str | None = None) -> config.DACTraining:
    """`arg` is "scale=SCALE"."""
    return config.choose(SCALES, config.parse_arg(arg, scale="tiny")["scale"])()
