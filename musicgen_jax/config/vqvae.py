"""The tokenizer: its tiers, quantizer, decoder, losses, and their training."""

import dataclasses
import itertools
import math
from typing import ClassVar

from musicgen_jax.config.fields import require, require_range
from musicgen_jax.config.training import DataConfig, MeshConfig, OptimizerConfig, TrainingConfig

FEATURES = (
    "waveform",
    "semitones",  # how loud each is, frame by frame, and nothing of phase: for decoders that are synthesizers
)


@dataclasses.dataclass
class TierConfig:
    """Encoder and decoder of one tier: a sequence of blocks, each some strided convolutions and a projection."""

    downsampling: tuple[int, ...] = (3,)  # strided convolutions of each block
    strides: tuple[int, ...] = ()  # of all these convolutions, from the waveform on; empty: each 2
    width: int = 32  # channels
    depth: int = 4  # residual blocks after each strided convolution
    dilation_growth: int = 3  # residual block r has dilation dilation_growth ** r
    features: str = "waveform"  # what the encoder reads: see `FEATURES`

    @property
    def block_strides(self) -> tuple[tuple[int, ...], ...]:
        """The strides of each block's convolutions."""
        strides, ends = self.strides or (2,) * sum(self.downsampling), itertools.accumulate(self.downsampling)
        return tuple(tuple(strides[end - number : end]) for number, end in zip(self.downsampling, ends, strict=True))

    @property
    def hop_length(self) -> int:
        return math.prod(math.prod(strides) for strides in self.block_strides)

    def validate(self, name: str) -> None:
        steps = self.downsampling
        require(
            bool(steps) and min(steps) >= 1,
            f"model.{name}.downsampling={steps}: every block needs at least one strided convolution",
        )
        require(
            not self.strides or (len(self.strides) == sum(steps) and min(self.strides) >= 2),
            f"model.{name}.strides={self.strides}: there must be {sum(steps)}, as many as downsampling={steps} says, "
            "each 2 or more",
        )
        require(
            sum(steps) <= 20 and self.hop_length <= 2**20,
            f"model.{name}.downsampling={steps}, strides={self.strides}: a hop length above 2 ** 20 is too long",
        )
        require_range(f"model.{name}.width", self.width, 1, 2**20)
        known = ", ".join(FEATURES)
        require(self.features in FEATURES, f"model.{name}.features={self.features!r}: must be one of {known}")
        for field in ("depth", "dilation_growth"):
            require_range(f"model.{name}.{field}", getattr(self, field), 1, 1000)


@dataclasses.dataclass
class QuantizerConfig:
    """How latents become codes."""

    kind: str = "ema"  # ema | gradient | normalized (DAC's low-dimensional unit vectors) | fsq (finite scalar)
    num_codes: int = 2048  # K, entries of each codebook
    num_codebooks: int = 1  # Q; each after the first quantizes what those before it leave, any first of them decode
    codebook_dropout: float = 0.0  # share of training clips heard through their first few codebooks, 1 to Q, alone
    code_width: int = 64  # dimensions of the latents that the encoder writes and the decoder reads
    ema_decay: float = 0.99  # of counts and sums
    restart_fraction: float = 0.1  # a code used less than this share of uniform usage restarts at an encoder output
    lookup_width: int = 8  # kind=normalized: dimensions in which latents and entries are compared
    fsq_levels: tuple[int, ...] = (8, 8, 8, 4)  # kind=fsq: values of each dimension; their product is num_codes

    def validate(self) -> None:
        kinds = ("ema", "gradient", "normalized", "fsq")
        require(self.kind in kinds, f"quantizer.kind={self.kind!r}: must be one of {kinds}")
        require(self.num_codes >= 2, f"quantizer.num_codes={self.num_codes}: must be at least 2")
        require(self.num_codes <= 32767, f"quantizer.num_codes={self.num_codes}: codes are stored as int16")
        require_range("quantizer.num_codebooks", self.num_codebooks, 1, 64)
        require_range("quantizer.codebook_dropout", self.codebook_dropout, 0, 1)
        require(
            self.codebook_dropout == 0 or self.num_codebooks > 1,
            f"quantizer.codebook_dropout={self.codebook_dropout}: needs quantizer.num_codebooks above 1, or 0",
        )
        require(0 < self.ema_decay < 1, f"quantizer.ema_decay={self.ema_decay}: must be in (0, 1)")
        for name in ("code_width", "lookup_width"):
            require(getattr(self, name) >= 1, f"quantizer.{name}={getattr(self, name)}: must be at least 1")
        require(
            0 < self.restart_fraction < 1,
            f"quantizer.restart_fraction={self.restart_fraction}: must be in (0, 1); at 0 a code that is never used has"
            " no average",
        )
        if self.kind == "fsq":
            levels = self.fsq_levels
            require(
                bool(levels) and min(levels) >= 2 and math.prod(levels) == self.num_codes,
                f"quantizer.fsq_levels={levels}: each must be at least 2 and their product, now {math.prod(levels)}, "
                f"must be quantizer.num_codes={self.num_codes}",
            )


@dataclasses.dataclass
class LossConfig:
    """Weights of the terms of the objective; a term of weight 0 is neither computed nor logged."""

    l1: float = 0.0  # mean absolute difference of the waveforms
    l2: float = 1.0  # mean squared difference of the waveforms
    linf: float = 0.0  # mean of the linf_k largest squared differences of each example
    linf_k: int = 2048  # samples
    spectral: float = 1.0  # lambda: multi-resolution STFT, squared difference of linear magnitudes
    log_spectral: float = 0.0  # multi-resolution STFT, absolute difference of log magnitudes
    mel: float = 0.0  # multi-scale mel spectrograms, absolute difference of log magnitudes
    commitment: float = 0.25  # beta of van den Oord et al. 2017: latents towards their entries
    codebook: float = 1.0  # entries towards their latents, for quantizers that learn by gradient
    normalization: str = "batch"  # what l1, l2, linf and spectral are divided by: energy of the batch | of the data
    data_seconds: float = 600.0  # normalization=data: audio measured before training, or less where there is less

    def validate(self) -> None:
        weights = ("l1", "l2", "linf", "spectral", "log_spectral", "mel", "commitment", "codebook")
        for name in weights:
            require(getattr(self, name) >= 0, f"loss.{name}={getattr(self, name)}: must be 0 (off) or more")
        require(
            any(getattr(self, name) for name in weights[:6]),
            f"loss: at least one of {', '.join(weights[:6])} must be above 0, or nothing is reconstructed",
        )
        require(self.linf_k >= 1, f"loss.linf_k={self.linf_k}: must be at least 1")
        known = ("batch", "data")
        require(self.normalization in known, f"loss.normalization={self.normalization!r}: must be one of {known}")
        require(self.data_seconds > 0, f"loss.data_seconds={self.data_seconds}: must be positive")


# The game of tokenizer and discriminator. Hinge losses, features relative to those of the audio, all averaged over the
# discriminators (Defossez et al. 2022, EnCodec); or least squares and absolute features, all summed (Kong et al. 2020,
# HiFi-GAN; Kumar et al. 2023, DAC).
OBJECTIVES = ("hinge", "squares")


@dataclasses.dataclass
class AdversarialConfig:
    """Discriminators of spectra and of periods, trained beside the tokenizer; off by default."""

    weight: float = 0.0  # of the adversarial loss of the decoders; 0 turns the discriminators off
    feature_matching: float = 1.0  # weight of the distance between the discriminators' features
    fft_sizes: tuple[int, ...] = (2048, 1024, 512)  # a discriminator of complex spectra each, hop fft_size / 4
    bands: tuple[
        float, ...
    ] = ()  # shares of Nyquist at which these spectra are cut, each part judged by its own layers
    periods: tuple[int, ...] = ()  # a discriminator each of every period-th sample (HiFi-GAN)
    width: int = 32  # channels
    objective: str = "hinge"  # see `OBJECTIVES`
    normalize: bool = False  # it hears every clip without its mean and at a peak of 0.8: loudness tells nothing
    balance_decay: float = 0.99  # moving average of gradient norms that the loss balancer divides by; 0 turns it off

    def validate(self) -> None:
        for name in ("weight", "feature_matching"):
            require(getattr(self, name) >= 0, f"adversarial.{name}={getattr(self, name)}: must be 0 (off) or more")
        require(
            bool(self.fft_sizes) and min(self.fft_sizes) >= 16 and all(size % 4 == 0 for size in self.fft_sizes),
            f"adversarial.fft_sizes={self.fft_sizes}: each must be a multiple of 4 and at least 16",
        )
        edges = (0, *self.bands, 1)
        fewest = min(self.fft_sizes) // 2 + 1
        require(
            all(int(below * fewest) < int(above * fewest) for below, above in itertools.pairwise(edges)),
            f"adversarial.bands={self.bands}: must rise between 0 and 1, with a frequency of the smallest of "
            f"adversarial.fft_sizes={self.fft_sizes} in every part",
        )
        require(
            all(2 <= period <= 1000 for period in self.periods),
            f"adversarial.periods={self.periods}: each must be 2 to 1000",
        )
        require(self.width >= 1, f"adversarial.width={self.width}: must be at least 1")
        known = ", ".join(OBJECTIVES)
        require(self.objective in OBJECTIVES, f"adversarial.objective={self.objective!r}: must be one of {known}")
        require(0 <= self.balance_decay < 1, f"adversarial.balance_decay={self.balance_decay}: must be in [0, 1)")


# Of the synthesizer: banks of harmonics whose pitch and phase the codes tell, or one running sine a semitone, of which
# they tell the amplitude alone: few codes that carry no phase, for losses that do not hear any.
OSCILLATORS = ("voices", "semitones")


@dataclasses.dataclass
class DDSPConfig:
    """Differentiable synthesizer in the decoder: oscillators, noise, formants and reverb, driven by the codes."""

    hop_length: int = 128  # samples between control frames; a tier of a longer hop uses its own
    overlap: int = 4  # frames that sound together: the oscillators' window is overlap * hop_length samples; even
    width: int = 128  # channels of the network that predicts the controls
    depth: int = 5  # its residual blocks
    dilation_growth: int = 3  # residual block r has dilation dilation_growth ** r: the controls of a frame see far
    oscillators: str = "voices"  # see `OSCILLATORS`
    num_voices: int = 8  # harmonic oscillator banks that sound together; at semitones, how many from 65 Hz (C2) upwards
    num_harmonics: int = 16  # of each voice; those at or above Nyquist are silent
    num_noise_bands: int = 33  # of the noise filter
    num_formants: int = 4  # resonators in cascade; 0 leaves them out
    reverb_seconds: float = 0.25  # length of the learned impulse response; 0 turns it off

    def validate(self) -> None:
        for field in dataclasses.fields(self):
            if field.type is int:
                most = 1000 if field.name in ("depth", "dilation_growth") else 2**20
                least = 0 if field.name == "num_formants" else 1
                require_range(f"ddsp.{field.name}", getattr(self, field.name), least, most)
        require(
            self.oscillators in OSCILLATORS,
            f"ddsp.oscillators={self.oscillators!r}: must be one of {', '.join(OSCILLATORS)}",
        )
        require(self.overlap % 2 == 0, f"ddsp.overlap={self.overlap}: must be even")
        require(self.num_noise_bands >= 2, f"ddsp.num_noise_bands={self.num_noise_bands}: must be at least 2")
        require(self.reverb_seconds >= 0, f"ddsp.reverb_seconds={self.reverb_seconds}: must be 0 (off) or more")


class Streams:
    """What the configs of VQ-VAEs of any number of streams share: all that their module, task and tokenizer ask.

    A subclass has the fields sample_rate, quantizer, decoder and ddsp, a `TierConfig` for each stream of codes, and a
    property `streams`, {name: TierConfig}, coarse to fine.
    """

    @property
    def has_convolutions(self) -> bool:
        return "conv" in self.decoder.split("+")

    @property
    def has_ddsp(self) -> bool:
        return "ddsp" in self.decoder.split("+")

    @property
    def hop_lengths(self) -> dict[str, int]:
        """Stream -> samples of a frame."""
        return {name: stream.hop_length for name, stream in self.streams.items()}

    @property
    def hop_length(self) -> int:
        """Samples of the longest frame, which is the coarsest stream's: clips and windows are multiples of it."""
        return max(self.hop_lengths.values())

    @property
    def values_per_sample(self) -> int:
        """Values that encoders and decoders make for each sample of a clip, for estimates of traffic.

        Six arrays of the tier's width a residual block or stride; their lengths, half the samples, a quarter and so on,
        add up to the samples.
        """
        return sum(2 * 6 * tier.width * (tier.depth + 1) for tier in self.streams.values())

    def validate(self) -> None:
        require_range("model.sample_rate", self.sample_rate, 1, 768_000)
        for name, stream in self.streams.items():
            stream.validate(name)
        hops = list(self.hop_lengths.values())
        falling = all(above > below and above % below == 0 for above, below in itertools.pairwise(hops))
        require(falling, f"hop lengths {', '.join(self.streams)} are {hops}: each must be a multiple of the next")
        self.quantizer.validate()
        decoders = ("conv", "ddsp", "conv+ddsp")
        require(self.decoder in decoders, f"model.decoder={self.decoder!r}: must be one of {decoders}")
        deaf = [name for name, stream in self.streams.items() if stream.features == "semitones"]
        require(
            not (deaf and self.has_convolutions),
            f"model.decoder={self.decoder!r}: convolutions make a waveform with its phases, of which an encoder with "
            f"model.{next(iter(deaf), '')}.features='semitones' says nothing; use decoder='ddsp'",
        )
        if self.has_ddsp:
            self.ddsp.validate()
            frame = self.ddsp.hop_length
            require(
                hops[0] % frame == 0 and all(frame % hop == 0 for hop in hops if hop < frame),
                f"ddsp.hop_length={frame}: must divide the longest hop length and be a multiple of all that are "
                f"shorter than itself; the streams have {', '.join(map(str, hops))}",
            )


@dataclasses.dataclass
class VQVAEConfig(Streams):
    """Three-tier VQ-VAE: each tier has its own encoder and decoder from and to the waveform (Jukebox 2020)."""

    sample_rate: int = 44100  # Hz, of the shards it trains on and of what it writes
    top: TierConfig = dataclasses.field(default_factory=lambda: TierConfig(downsampling=(3, 2, 2)))
    middle: TierConfig = dataclasses.field(default_factory=lambda: TierConfig(downsampling=(3, 2)))
    bottom: TierConfig = dataclasses.field(default_factory=lambda: TierConfig(downsampling=(3,)))
    quantizer: QuantizerConfig = dataclasses.field(default_factory=QuantizerConfig)
    decoder: str = "conv"  # conv | ddsp (the synthesizer alone) | conv+ddsp (the sum of both)
    ddsp: DDSPConfig = dataclasses.field(default_factory=DDSPConfig)

    @property
    def streams(self) -> dict[str, TierConfig]:
        """Encoder and decoder of every stream of codes, coarse to fine; each prior is told the codes of the one before.

        Their modules have the names of these fields.
        """
        return {"top": self.top, "middle": self.middle, "bottom": self.bottom}


@dataclasses.dataclass
class VQVAETraining:
    """All that `train_vqvae` needs."""

    kind: ClassVar[str] = "vqvae"  # of `kinds.KINDS`
    transformer: ClassVar[None] = None
    shard_sequence: ClassVar[bool] = False

    model: VQVAEConfig = dataclasses.field(default_factory=VQVAEConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    adversarial: AdversarialConfig = dataclasses.field(default_factory=AdversarialConfig)
    clip_samples: int = 441_000  # samples of a training clip; a multiple of the longest hop length
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def validate(self) -> None:
        for part in (self.model, self.loss, self.adversarial, self.data, self.mesh, self.optimizer, self.training):
            part.validate()
        hop = self.model.hop_length
        require(
            self.clip_samples > 0 and self.clip_samples % hop == 0,
            f"clip_samples={self.clip_samples}: must be a positive multiple of the longest hop length {hop}",
        )
        require(
            self.adversarial.weight == 0 or max(self.adversarial.fft_sizes) <= self.clip_samples,
            f"adversarial.fft_sizes={self.adversarial.fft_sizes}: none may exceed clip_samples={self.clip_samples}",
        )
        require(
            not (self.adversarial.weight and self.adversarial.balance_decay)
            or self.training.compute_dtype != "float16",
            "training.compute_dtype='float16' with a loss balancer: its gradients are too small for float16; use "
            "bfloat16, or adversarial.balance_decay=0",
        )
        require(
            self.training.accumulation_steps == 1,
            f"training.accumulation_steps={self.training.accumulation_steps}: the VQ-VAE's codebook statistics are "
            "taken over the whole global batch; use 1",
        )
