"""Every configuration dataclass, one line of documentation a field; values live in `configs/`.

A config is mutable only so that `--config.a.b=value` can override it: call `validate()` once, then read it only.
"""

import dataclasses
import json
import pathlib
from typing import Any

TIERS = ("top", "middle", "bottom")  # coarse to fine: the order in which music is generated
TIER_ABOVE = {"top": None, "middle": "top", "bottom": "middle"}
UNKNOWN_LABEL = "unknown"


def require(condition: bool, message: str) -> None:
    """Raises ValueError(message) unless `condition` holds."""
    if not condition:
        raise ValueError(message)


@dataclasses.dataclass
class MeshConfig:
    """Devices as a grid. The batch is divided over data x fsdp; parameters over fsdp and tensor."""

    data: int = -1  # data-parallel replicas; -1 takes the devices that the other axes leave
    fsdp: int = 1  # parameters, gradients and optimizer state are divided over this axis
    tensor: int = 1  # heads and MLP columns are divided over this axis

    def validate(self) -> None:
        for name in ("fsdp", "tensor"):
            require(getattr(self, name) >= 1, f"mesh.{name}={getattr(self, name)}: must be at least 1")
        require(self.data == -1 or self.data >= 1, f"mesh.data={self.data}: must be -1 (the rest) or at least 1")


@dataclasses.dataclass
class DataConfig:
    """Where batches come from and how large they are."""

    path: str = ""  # folder written by prepare_data (VQ-VAE) or extract_codes (priors)
    batch_size: int = 32  # examples in the global batch, over all hosts
    num_workers: int = 0  # Grain worker processes a host; 0 reads in threads
    seed: int = 0  # order and crops

    def validate(self) -> None:
        require(bool(self.path), "config.data.path is empty: pass --config.data.path=DIR")
        require(self.batch_size >= 1, f"data.batch_size={self.batch_size}: must be at least 1")
        require(self.num_workers >= 0, f"data.num_workers={self.num_workers}: must be 0 or more")


@dataclasses.dataclass
class OptimizerConfig:
    """Adam with decoupled weight decay; linear warm-up, then the decay schedule."""

    peak_learning_rate: float = 1e-4  # after warm-up
    warmup_steps: int = 0  # linear from 0
    decay: str = "constant"  # constant | cosine (to final_fraction of the peak at training.num_steps)
    final_fraction: float = 0.0  # learning rate at the end as a share of the peak, for decay=cosine
    b1: float = 0.9  # Adam's first-moment decay
    b2: float = 0.999  # Adam's second-moment decay
    weight_decay: float = 0.0  # on matrices and tables only, never on biases and norms
    clip_norm: float = 1.0  # global gradient norm; 0 turns clipping off

    def validate(self) -> None:
        require(self.peak_learning_rate > 0, f"optimizer.peak_learning_rate={self.peak_learning_rate}: must be > 0")
        require(self.decay in ("constant", "cosine"), f"optimizer.decay={self.decay!r}: must be constant or cosine")
        require(self.warmup_steps >= 0, f"optimizer.warmup_steps={self.warmup_steps}: must be 0 or more")
        require(self.clip_norm >= 0, f"optimizer.clip_norm={self.clip_norm}: must be 0 (off) or more")


@dataclasses.dataclass
class TrainingConfig:
    """How long, how precise, how often."""

    num_steps: int = 1000  # optimizer updates in all
    seed: int = 0  # initial parameters and every random draw of training
    compute_dtype: str = "float32"  # float32 | bfloat16 | float16 (with dynamic loss scaling)
    accumulation_steps: int = 1  # micro-batches a step; the batch size must be divisible by it
    ema_decay: float = 0.0  # moving average of the parameters, used by evaluation and sampling; 0 turns it off
    log_every: int = 10  # steps between lines of metrics.jsonl
    eval_every: int = 500  # steps between validation passes; 0 turns them off
    eval_batches: int = 8  # batches of a validation pass
    checkpoint_every: int = 500  # steps between checkpoints; one is always written at the end
    keep_checkpoints: int = 2  # newest checkpoints kept

    def validate(self) -> None:
        for name in ("num_steps", "accumulation_steps", "log_every", "checkpoint_every", "keep_checkpoints"):
            require(getattr(self, name) >= 1, f"training.{name}={getattr(self, name)}: must be at least 1")
        for name in ("eval_every", "eval_batches"):
            require(getattr(self, name) >= 0, f"training.{name}={getattr(self, name)}: must be 0 (off) or more")
        require(0 <= self.ema_decay < 1, f"training.ema_decay={self.ema_decay}: must be in [0, 1)")
        known = ("float32", "bfloat16", "float16")
        require(self.compute_dtype in known, f"training.compute_dtype={self.compute_dtype!r}: must be one of {known}")


@dataclasses.dataclass
class TierConfig:
    """Encoder and decoder of one tier: a sequence of blocks, each some stride-2 convolutions and a projection."""

    downsampling: tuple[int, ...] = (3,)  # stride-2 convolutions of each block; the hop length is 2 ** their sum
    width: int = 32  # channels
    depth: int = 4  # residual blocks after each stride-2 convolution
    dilation_growth: int = 3  # residual block r has dilation dilation_growth ** r

    @property
    def hop_length(self) -> int:
        return 2 ** sum(self.downsampling)

    def validate(self, name: str) -> None:
        steps = self.downsampling
        require(
            bool(steps) and min(steps) >= 1,
            f"model.{name}.downsampling={steps}: every block needs at least one stride-2 convolution",
        )
        for field in ("width", "depth", "dilation_growth"):
            require(getattr(self, field) >= 1, f"model.{name}.{field}={getattr(self, field)}: must be at least 1")


@dataclasses.dataclass
class QuantizerConfig:
    """Vector quantizer with an exponential-moving-average codebook."""

    num_codes: int = 2048  # entries of each tier's codebook
    code_width: int = 64  # dimensions of an entry
    ema_decay: float = 0.99  # of counts and sums
    restart_fraction: float = 0.1  # a code used less than this share of uniform usage restarts at an encoder output
    commitment: float = 0.25  # beta of van den Oord et al. 2017

    def validate(self) -> None:
        require(self.num_codes >= 2, f"quantizer.num_codes={self.num_codes}: must be at least 2")
        require(self.num_codes <= 32767, f"quantizer.num_codes={self.num_codes}: codes are stored as int16")
        require(0 < self.ema_decay < 1, f"quantizer.ema_decay={self.ema_decay}: must be in (0, 1)")
        require(self.code_width >= 1, f"quantizer.code_width={self.code_width}: must be at least 1")
        require(
            0 < self.restart_fraction < 1,
            f"quantizer.restart_fraction={self.restart_fraction}: must be in (0, 1); at 0 a code that is never used has"
            " no average",
        )
        require(self.commitment >= 0, f"quantizer.commitment={self.commitment}: must be 0 or more")


@dataclasses.dataclass
class VQVAEConfig:
    """Three-tier VQ-VAE: each tier has its own encoder and decoder from and to the waveform (Jukebox 2020)."""

    sample_rate: int = 44100  # Hz, of the shards it trains on and of what it writes
    top: TierConfig = dataclasses.field(default_factory=lambda: TierConfig(downsampling=(3, 2, 2)))
    middle: TierConfig = dataclasses.field(default_factory=lambda: TierConfig(downsampling=(3, 2)))
    bottom: TierConfig = dataclasses.field(default_factory=lambda: TierConfig(downsampling=(3,)))
    quantizer: QuantizerConfig = dataclasses.field(default_factory=QuantizerConfig)
    spectral_weight: float = 1.0  # lambda: weight of the multi-resolution STFT-magnitude loss

    def tier(self, name: str) -> TierConfig:
        return getattr(self, name)

    @property
    def hop_lengths(self) -> dict[str, int]:
        return {tier: self.tier(tier).hop_length for tier in TIERS}

    def validate(self) -> None:
        require(self.sample_rate > 0, f"model.sample_rate={self.sample_rate}: must be positive")
        for tier in TIERS:
            self.tier(tier).validate(tier)
        hops = [self.hop_lengths[tier] for tier in TIERS]
        require(hops[0] > hops[1] > hops[2], f"hop lengths top, middle, bottom are {hops}: they must decrease")
        self.quantizer.validate()


@dataclasses.dataclass
class VQVAETraining:
    """All that `train_vqvae` needs."""

    model: VQVAEConfig = dataclasses.field(default_factory=VQVAEConfig)
    clip_samples: int = 441_000  # samples of a training clip; a multiple of the top hop length
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def validate(self) -> None:
        for part in (self.model, self.data, self.mesh, self.optimizer, self.training):
            part.validate()
        hop = self.model.top.hop_length
        require(
            self.clip_samples > 0 and self.clip_samples % hop == 0,
            f"clip_samples={self.clip_samples}: must be a positive multiple of the top hop length {hop}",
        )
        require(
            self.training.accumulation_steps == 1,
            f"training.accumulation_steps={self.training.accumulation_steps}: the VQ-VAE's codebook statistics are "
            "taken over the whole global batch; use 1",
        )


@dataclasses.dataclass
class TransformerConfig:
    """Stack of pre-norm blocks with relative self-attention."""

    num_layers: int = 72  # blocks
    width: int = 4800  # residual stream
    num_heads: int = 10  # attention heads
    head_dim: int = 128  # width of a head; num_heads * head_dim may be smaller than width (narrow attention)
    mlp_width: int = 4800  # hidden units of the MLP
    max_distance: int = 0  # relative positions known to attention, beyond them none is; 0 takes the whole context
    dropout: float = 0.0  # on the outputs of attention and MLP
    remat: bool = True  # recompute each block's activations in the backward pass

    def validate(self) -> None:
        for name in ("num_layers", "width", "num_heads", "head_dim", "mlp_width"):
            require(getattr(self, name) >= 1, f"transformer.{name}={getattr(self, name)}: must be at least 1")
        require(
            self.max_distance >= 0, f"transformer.max_distance={self.max_distance}: must be 0 (the context) or more"
        )
        require(0 <= self.dropout < 1, f"transformer.dropout={self.dropout}: must be in [0, 1)")


@dataclasses.dataclass
class ConditionerConfig:
    """Non-causal residual convolutions over the codes of the tier above, then upsampling to this tier's rate."""

    width: int = 1024  # channels
    depth: int = 16  # residual blocks
    dilation_growth: int = 3  # block r has dilation dilation_growth ** (r % dilation_cycle)
    dilation_cycle: int = 8  # the dilations start again after this many blocks

    def validate(self) -> None:
        for name in ("width", "depth", "dilation_growth", "dilation_cycle"):
            require(getattr(self, name) >= 1, f"conditioner.{name}={getattr(self, name)}: must be at least 1")


@dataclasses.dataclass
class PriorConfig:
    """Autoregressive model of one tier's codes given labels, timing and the codes of the tier above."""

    tier: str = "top"  # top | middle | bottom
    context: int = 8192  # codes of a window
    num_codes: int = 2048  # codebook size; read from the codes
    upsampling: int = 0  # codes of this tier for one of the tier above, 0 at the top; read from the codes
    codes_per_second: float = 0.0  # of this tier; read from the codes
    vqvae: str = ""  # fingerprint of the tokenizer; read from the codes
    track_seconds: float = 0.0  # mean length of the training tracks; read from the codes
    genres: tuple[str, ...] = ()  # vocabulary; read from the training codes
    artists: tuple[str, ...] = ()  # vocabulary; read from the training codes
    timing_bins: int = 64  # bins of the elapsed fraction and of the total length
    max_seconds: float = 600.0  # total lengths are binned between 0 and this
    transformer: TransformerConfig = dataclasses.field(default_factory=TransformerConfig)
    conditioner: ConditionerConfig = dataclasses.field(default_factory=ConditionerConfig)

    def validate(self) -> None:
        require(self.tier in TIERS, f"model.tier={self.tier!r}: must be one of {TIERS}")
        require(self.context >= 2, f"model.context={self.context}: must be at least 2")
        if self.upsampling:
            require(
                self.context % self.upsampling == 0,
                f"model.context={self.context}: must be a multiple of the {self.upsampling} codes for one of the tier "
                "above",
            )
        require(self.timing_bins >= 1, f"model.timing_bins={self.timing_bins}: must be at least 1")
        require(self.max_seconds > 0, f"model.max_seconds={self.max_seconds}: must be positive")
        self.transformer.validate()
        self.conditioner.validate()


@dataclasses.dataclass
class PriorTraining:
    """All that `train_prior` needs."""

    model: PriorConfig = dataclasses.field(default_factory=PriorConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def validate(self) -> None:
        for part in (self.model, self.data, self.mesh, self.optimizer, self.training):
            part.validate()
        require(
            self.data.batch_size % self.training.accumulation_steps == 0,
            f"data.batch_size={self.data.batch_size} must be divisible by "
            f"training.accumulation_steps={self.training.accumulation_steps}",
        )


def parse_arg(arg: str | None, **defaults: str) -> dict[str, str]:
    """Parses the part of `--config=FILE:ARG` behind the colon: "tier=top,scale=tiny".

    Args:
      arg: comma-separated NAME=VALUE pairs, or None.
      **defaults: the known names with their default values.

    Raises:
      ValueError: a pair that is malformed or has an unknown name.
    """
    parsed = dict(defaults)
    for pair in filter(None, (arg or "").split(",")):
        name, separator, value = pair.partition("=")
        require(
            bool(separator) and name in defaults,
            f"--config=...:{arg}: {pair!r} is not understood; the part behind the colon takes "
            + ",".join(f"{key}={default}" for key, default in defaults.items()),
        )
        parsed[name] = value
    return parsed


def choose(scales: dict[str, Any], name: str) -> Any:
    """scales[name]; ValueError lists the names there are."""
    require(name in scales, f"scale={name}: must be one of {', '.join(scales)}")
    return scales[name]


def to_dict(config: Any) -> dict:
    """A dataclass tree as JSON-ready nested dicts (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(config_class: type, values: dict, path: str = "config") -> Any:
    """Inverse of `to_dict`.

    Raises:
      ValueError: a field that the class does not have (the message lists those it has).
    """
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - set(fields))
    require(not unknown, f"{path} has no field {', '.join(unknown)}: the fields are {', '.join(fields)}")
    parsed = {}
    for name, value in values.items():
        field_type = fields[name].type
        if dataclasses.is_dataclass(field_type):
            parsed[name] = from_dict(field_type, value, f"{path}.{name}")
        else:
            parsed[name] = tuple(value) if isinstance(value, list) else value
    return config_class(**parsed)


def write_json(path: pathlib.Path, config: Any) -> None:
    """Writes the resolved config to `path`."""
    path.write_text(json.dumps(to_dict(config), indent=2) + "\n")


def read_json(path: pathlib.Path, config_class: type) -> Any:
    """Reads a config written by `write_json`.

    Raises:
      FileNotFoundError: `path` does not exist; the message says what should have written it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: pass the --workdir of a finished training run")
    return from_dict(config_class, json.loads(path.read_text()))
