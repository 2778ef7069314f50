"""EnCodec (Defossez et al. 2022) and its training; the values of the published models are in `configs/encodec.py`."""

import dataclasses
from typing import ClassVar

from musicgen_jax.config.codec import Codec
from musicgen_jax.config.fields import require, require_range
from musicgen_jax.config.vqvae import QuantizerConfig, VQVAETraining

NORMS = (
    "none",  # weight normalization too, which is folded into the weights
    "time_group",  # of each chunk, over all its frames and channels
)
PADDINGS = ("reflect", "constant")
SHORTCUTS = ("identity", "convolution")


@dataclasses.dataclass
class EncodecConfig(Codec):
    """SEANet encoder and decoder (Tagliasacchi et al. 2020) with an LSTM each, around a residual quantizer."""

    sample_rate: int = 32_000  # Hz
    channels: int = 1  # of the audio: 1 or 2; training and streams of codes are of mono
    filters: int = 64  # channels behind the first convolution; each stride doubles them
    strides: tuple[int, ...] = (4, 4, 5, 8)  # from the waveform on; their product is the hop length
    kernel: int = 7  # taps of the first convolution of encoder and decoder
    last_kernel: int = 7  # of their last
    residual_kernel: int = 3  # of the first convolution of a residual block
    residual_layers: int = 1  # residual blocks before each stride of the encoder, behind each of the decoder
    dilation_growth: int = 2  # residual block r has dilation dilation_growth ** r
    compress: int = 2  # a residual block has 1 / compress of the channels inside
    shortcut: str = "identity"  # around a residual block: see `SHORTCUTS`
    lstm_layers: int = 2  # 0 leaves the LSTMs out
    causal: bool = False  # no sample behind a frame decides its codes
    padding: str = "reflect"  # what convolutions see beyond the ends: see `PADDINGS`
    trim_right: float = 1.0  # causal=true: share of what transposed convolutions make too much that is cut at the end
    norm: str = "none"  # behind each convolution: see `NORMS`
    normalize: bool = False  # each chunk is divided by its loudness, which is transmitted beside the codes
    chunk_seconds: float = 0.0  # audio that is encoded by itself; 0: all of it together
    chunk_overlap: float = 0.0  # share of a chunk that it has in common with the next one
    quantizer: QuantizerConfig = dataclasses.field(
        default_factory=lambda: QuantizerConfig(num_codes=2048, num_codebooks=4, code_width=128)
    )

    @property
    def is_stream(self) -> bool:
        """Whether its codes are one sequence of frames with nothing beside them."""
        return self.channels == 1 and self.norm == "none" and not self.normalize and not self.chunk_seconds

    @property
    def chunk_samples(self) -> int:
        """Samples of a chunk; 0 where there are none."""
        return int(self.chunk_seconds * self.sample_rate)

    @property
    def chunk_stride(self) -> int:
        """Samples from one chunk to the next."""
        return max(1, int((1 - self.chunk_overlap) * self.chunk_samples))

    @property
    def values_per_sample(self) -> int:
        """Values that encoder and decoder make for each sample, for estimates of traffic.

        Each stride halves what all channels together have of a second, or less: together at most twice the first.
        """
        return 2 * 2 * self.filters * (4 * self.residual_layers + 2)

    def codebooks_of(self, kilobits: float) -> int:
        """How many codebooks, the first ones, a bit rate has room for, in kbit/s.

        Raises:
          UserError: not even one, or more than there are.
        """
        # Whole bits a code, as the published bit rates are counted.
        bits = (self.quantizer.num_codes - 1).bit_length()
        each, most = bits * self.sample_rate / self.hop_length / 1000, self.quantizer.num_codebooks
        number = int(min(kilobits / each + 1e-6, most + 1)) if kilobits > 0 else 0
        require(
            1 <= number <= most,
            f"`bandwidth`={kilobits:g}: a codebook takes {each:g} kbit/s and there are {most}: choose from {each:g} to "
            f"{most * each:g}",
        )
        return number

    def validate(self) -> None:
        super().validate()
        require(self.channels in (1, 2), f"model.channels={self.channels}: must be 1 (mono) or 2 (stereo)")
        for name in ("kernel", "last_kernel", "residual_kernel", "dilation_growth", "compress"):
            require_range(f"model.{name}", getattr(self, name), 1, 1000)
        for name in ("residual_layers", "lstm_layers"):
            require_range(f"model.{name}", getattr(self, name), 0, 1000)
        require_range("model.filters", self.filters, 1, 2**14)
        require(
            self.filters % self.compress == 0,
            f"model.filters={self.filters}: must be a multiple of model.compress={self.compress}",
        )
        for name, known in (("norm", NORMS), ("padding", PADDINGS), ("shortcut", SHORTCUTS)):
            value = getattr(self, name)
            require(value in known, f"model.{name}={value!r}: must be one of {', '.join(known)}")
        require_range("model.trim_right", self.trim_right, 0, 1)
        require_range("model.chunk_seconds", self.chunk_seconds, 0, 3600)
        overlap = self.chunk_overlap
        require(0 <= overlap < 1, f"model.chunk_overlap={overlap}: must be in [0, 1)")


@dataclasses.dataclass
class EncodecTraining(VQVAETraining):
    """All that `train_vqvae` needs to train one."""

    kind: ClassVar[str] = "encodec"  # of `kinds.KINDS`

    model: EncodecConfig = dataclasses.field(default_factory=EncodecConfig)
    clip_samples: int = 32_000  # samples of a training clip; a multiple of the hop length

    def validate(self) -> None:
        super().validate()
        require(
            self.model.is_stream,
            f"model.channels={self.model.channels}, norm={self.model.norm!r}, normalize={self.model.normalize}, "
            f"chunk_seconds={self.model.chunk_seconds}: data sets here are mono and codes are one sequence: training "
            "needs channels=1, norm='none', normalize=False, chunk_seconds=0; convert takes all published models",
        )


def published(name: str) -> EncodecConfig:
    """The settings of a published model: "24khz", "32khz" (MusicGen's) or "48khz" (stereo)."""
    if name == "32khz":
        return EncodecConfig()
    sizes = {"filters": 32, "strides": (2, 4, 5, 8), "shortcut": "convolution"}
    if name == "24khz":
        quantizer = QuantizerConfig(num_codes=1024, num_codebooks=32, code_width=128)
        return EncodecConfig(sample_rate=24_000, causal=True, quantizer=quantizer, **sizes)
    return EncodecConfig(
        sample_rate=48_000,
        channels=2,
        norm="time_group",
        normalize=True,
        chunk_seconds=1.0,
        chunk_overlap=0.01,
        quantizer=QuantizerConfig(num_codes=1024, num_codebooks=16, code_width=128),
        **sizes,
    )
