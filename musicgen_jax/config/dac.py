"""The Descript Audio Codec (Kumar et al. 2023): its sizes, and its training."""

import dataclasses
import itertools
import operator
from typing import ClassVar

from musicgen_jax.config.codec import Codec
from musicgen_jax.config.fields import require, require_range
from musicgen_jax.config.vqvae import AdversarialConfig, LossConfig, QuantizerConfig, VQVAETraining


@dataclasses.dataclass
class DACConfig(Codec):
    """Encoder, residual quantizer and decoder around one stream of codes, `codes`; by default the published 44.1 kHz.

    The encoder doubles its channels at every stride, the decoder halves them.
    """

    sample_rate: int = 44100  # Hz, of the shards it trains on and of what it writes
    strides: tuple[int, ...] = (2, 4, 8, 8)  # of the encoder, from the waveform on; the decoder has them reversed
    encoder_width: int = 64  # channels at the waveform
    decoder_width: int = 1536  # channels at the codes
    quantizer: QuantizerConfig = dataclasses.field(
        default_factory=lambda: QuantizerConfig(
            kind="normalized", num_codes=1024, num_codebooks=9, codebook_dropout=0.5, code_width=1024, lookup_width=8
        )
    )

    @property
    def encoder_widths(self) -> list[int]:
        """Channels at the waveform and behind each stride."""
        return [self.encoder_width * 2**n for n in range(len(self.strides) + 1)]

    @property
    def decoder_widths(self) -> list[int]:
        """Channels at the codes and behind each stride."""
        return [self.decoder_width // 2**n for n in range(len(self.strides) + 1)]

    @property
    def values_per_sample(self) -> int:
        """Values that encoder and decoder make for each sample, for estimates of traffic: five arrays of a residual
        unit, of which each resolution has three, and three of a stride."""
        frames = itertools.accumulate(self.strides, operator.mul, initial=1)
        resolutions = zip(frames, self.encoder_widths, reversed(self.decoder_widths), strict=True)
        return round(sum(18 * (down + up) / frame for frame, down, up in resolutions))

    def validate(self) -> None:
        super().validate()
        require_range("model.encoder_width", self.encoder_width, 1, 2**20)
        halvings = 2 ** len(self.strides)
        require(
            0 < self.decoder_width <= 2**20 and self.decoder_width % halvings == 0,
            f"model.decoder_width={self.decoder_width}: must be a multiple of {halvings}, for it is halved at each of "
            f"the {len(self.strides)} strides, and at most 2 ** 20",
        )


@dataclasses.dataclass
class DACTraining(VQVAETraining):
    """All that `train_vqvae` needs to train one."""

    kind: ClassVar[str] = "dac"  # of `kinds.KINDS`

    model: DACConfig = dataclasses.field(default_factory=DACConfig)
    loss: LossConfig = dataclasses.field(default_factory=lambda: LossConfig(l2=0.0, spectral=0.0, mel=15.0))
    adversarial: AdversarialConfig = dataclasses.field(default_factory=AdversarialConfig)
    clip_samples: int = 16_384  # samples of a training clip; a multiple of the hop length
