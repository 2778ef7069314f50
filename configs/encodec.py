"""EnCodec (Defossez et al. 2022): a codec of several codebooks a frame, trained against a discriminator.

    python -m musicgen_jax.train_vqvae --config=configs/encodec.py:scale=tiny --workdir=DIR --config.data.path=DIR

Scales: `tiny` (16 kHz, minutes on a laptop CPU, without a discriminator), `24khz` (causal, 32 codebooks, 24 kbit/s) and
`32khz` (MusicGen's, 4 codebooks, 2.2 kbit/s), both for accelerators.
"""

from musicgen_jax import config
from musicgen_jax.config import encodec


def tiny() -> config.EncodecTraining:
    """16 kHz; 50 frames of four codes a second, 1.6 kbit/s."""
    return config.EncodecTraining(
        model=config.EncodecConfig(
            sample_rate=16_000,
            filters=8,
            strides=(2, 4, 5, 8),
            lstm_layers=1,
            quantizer=config.QuantizerConfig(
                num_codes=256, num_codebooks=4, codebook_dropout=0.25, code_width=64, ema_decay=0.9
            ),
        ),
        clip_samples=16_000,
        data=config.DataConfig(batch_size=8),
        optimizer=config.OptimizerConfig(
            name="muon", peak_learning_rate=1e-2, warmup_steps=20, decay="cosine", final_fraction=0.02, b2=0.99
        ),
        training=config.TrainingConfig(num_steps=750, log_every=20, eval_every=250, checkpoint_every=150),
    )


def published(name: str) -> config.EncodecTraining:
    """The sizes of a published model, and the weights of its losses (section 4.1 there): 1 s clips, batch 64, Adam."""
    model = encodec.published(name)
    model.quantizer.codebook_dropout = 1.0
    return config.EncodecTraining(
        model=model,
        loss=config.LossConfig(l1=0.1, l2=0.0, spectral=0.0, mel=2.0, commitment=1.0),
        adversarial=config.AdversarialConfig(weight=4.0, feature_matching=4.0, balance_decay=0.999),
        clip_samples=model.sample_rate,
        data=config.DataConfig(batch_size=64, num_workers=4),
        optimizer=config.OptimizerConfig(
            peak_learning_rate=3e-4, b1=0.5, b2=0.9, warmup_steps=1000, decay="cosine", clip_norm=0.0
        ),
        training=config.TrainingConfig(
            num_steps=600_000, log_every=100, eval_every=5000, checkpoint_every=2000, ema_decay=0.999
        ),
    )


SCALES = {"tiny": tiny, "24khz": lambda: published("24khz"), "32khz": lambda: published("32khz")}


def get_config(arg: str | None = None) -> config.EncodecTraining:
    """`arg` is "scale=SCALE"."""
    return config.choose(SCALES, config.parse_arg(arg, scale="tiny")["scale"])()
