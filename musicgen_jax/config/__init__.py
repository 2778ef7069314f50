"""Every configuration dataclass, one line of documentation a field; values live in `configs/`.

A config is mutable only so that `--config.a.b=value` can override it: call `validate()` once, then read it only.
"""

from musicgen_jax.config.choices import CACHE_DTYPES, IMPORTANCES, MODES, SAMPLERS
from musicgen_jax.config.composer import STREAM, TOKENS, AugmentationConfig, ComposerConfig, ComposerTraining
from musicgen_jax.config.dac import DACConfig, DACTraining
from musicgen_jax.config.diffusion import SCHEDULES, DiffusionConfig, DiffusionTraining, DistillationConfig
from musicgen_jax.config.encodec import EncodecConfig, EncodecTraining
from musicgen_jax.config.fields import MAX_SEED, UNKNOWN_LABEL, require
from musicgen_jax.config.files import check_types, choose, from_dict, kind_of, parse_arg, read_json, to_dict, write_json
from musicgen_jax.config.finetuning import InitConfig, LoRAConfig, for_own_data
from musicgen_jax.config.jukebox import JukeboxPriorConfig, JukeboxTransformerConfig
from musicgen_jax.config.musicgen import (
    PADDINGS,
    PITCH_CLASSES,
    MusicgenConfig,
    MusicgenTraining,
    MusicgenTransformerConfig,
)
from musicgen_jax.config.prior import (
    ATTENTIONS,
    CONDITIONS,
    PATTERNS,
    REMAT,
    ConditionerConfig,
    PriorConfig,
    PriorTraining,
    QuantizationConfig,
    TransformerConfig,
)
from musicgen_jax.config.residual import ResidualVQVAEConfig, ResidualVQVAETraining
from musicgen_jax.config.text_encoder import FEED_FORWARDS, T5Config
from musicgen_jax.config.training import DataConfig, MeshConfig, OptimizerConfig, TrainingConfig
from musicgen_jax.config.vqvae import (
    AdversarialConfig,
    DDSPConfig,
    LossConfig,
    QuantizerConfig,
    Streams,
    TierConfig,
    VQVAEConfig,
    VQVAETraining,
)

__all__ = [
    "ATTENTIONS",
    "CACHE_DTYPES",
    "CONDITIONS",
    "FEED_FORWARDS",
    "IMPORTANCES",
    "MAX_SEED",
    "MODES",
    "PADDINGS",
    "PATTERNS",
    "PITCH_CLASSES",
    "REMAT",
    "SAMPLERS",
    "SCHEDULES",
    "STREAM",
    "TOKENS",
    "UNKNOWN_LABEL",
    "AdversarialConfig",
    "AugmentationConfig",
    "ComposerConfig",
    "ComposerTraining",
    "ConditionerConfig",
    "DACConfig",
    "DACTraining",
    "DDSPConfig",
    "DataConfig",
    "DiffusionConfig",
    "DiffusionTraining",
    "DistillationConfig",
    "EncodecConfig",
    "EncodecTraining",
    "InitConfig",
    "JukeboxPriorConfig",
    "JukeboxTransformerConfig",
    "LoRAConfig",
    "LossConfig",
    "MeshConfig",
    "MusicgenConfig",
    "MusicgenTraining",
    "MusicgenTransformerConfig",
    "OptimizerConfig",
    "PriorConfig",
    "PriorTraining",
    "QuantizationConfig",
    "QuantizerConfig",
    "ResidualVQVAEConfig",
    "ResidualVQVAETraining",
    "Streams",
    "T5Config",
    "TierConfig",
    "TrainingConfig",
    "TransformerConfig",
    "VQVAEConfig",
    "VQVAETraining",
    "check_types",
    "choose",
    "for_own_data",
    "from_dict",
    "kind_of",
    "parse_arg",
    "read_json",
    "require",
    "to_dict",
    "write_json",
]
