"""The tokenizer of one stream of several codebooks, and its training."""

import dataclasses
from typing import ClassVar

from musicgen_jax.config.vqvae import DDSPConfig, QuantizerConfig, Streams, TierConfig, VQVAETraining


@dataclasses.dataclass
class ResidualVQVAEConfig(Streams):
    """One encoder and decoder whose frames are quantized by several codebooks in turn (SoundStream, EnCodec)."""

    sample_rate: int = 16000  # Hz, of the shards it trains on and of what it writes
    residual: TierConfig = dataclasses.field(
        default_factory=lambda: TierConfig(downsampling=(4,), strides=(2, 4, 5, 8))
    )
    quantizer: QuantizerConfig = dataclasses.field(default_factory=lambda: QuantizerConfig(num_codebooks=4))
    decoder: str = "conv"  # as `VQVAEConfig.decoder`
    ddsp: DDSPConfig = dataclasses.field(default_factory=DDSPConfig)

    @property
    def streams(self) -> dict[str, TierConfig]:
        """Its one stream, `residual`."""
        return {"residual": self.residual}


@dataclasses.dataclass
class ResidualVQVAETraining(VQVAETraining):
    """All that `train_vqvae` needs to train one."""

    kind: ClassVar[str] = "residual"  # of `kinds.KINDS`

    model: ResidualVQVAEConfig = dataclasses.field(default_factory=ResidualVQVAEConfig)
