"""The priors and their training."""

import dataclasses
from typing import ClassVar

from musicgen_jax.config.fields import require, require_range
from musicgen_jax.config.finetuning import InitConfig, LoRAConfig
from musicgen_jax.config.training import DataConfig, MeshConfig, OptimizerConfig, TrainingConfig

# What is kept of each block for the backward pass, which computes the rest again.
REMAT = (
    "none",  # everything is kept
    "full",  # the block's input
    "dots",  # and the products with its matrices, but nothing of the size of codes x codes
    "offload",  # the block's input, in the host's memory
)

# Back ends of relative attention.
ATTENTIONS = (
    "reference",  # plain: memory grows with the square of the context
    "blocked",  # memory grows with the context, on any platform
    "pallas",  # likewise, as kernels for TPUs
)
# What tells a position of a window of those before it.
LAYERS = {
    "relative": "relative",  # attention that knows how far back a code is
    "absolute": "dense",  # attention that does not; sinusoids added to the input say where in the window it is
    "lstm": "lstm",  # a recurrent state, long short-term memory
}
PATTERNS = (
    "delay",
    "stereo_delay",
    "flat",
)  # in which order the codes of several codebooks are predicted: `codes/patterns.py`
# What a model is told besides the codes -> the field that says from how many training windows it is hidden.
CONDITIONS = {
    "labels": "label_dropout",
    "timing": "timing_dropout",
    "above": "above_dropout",
    "score": "score_dropout",
    "lyrics": "lyrics_dropout",
    "text": "text_dropout",
}
BEYOND = ("zero", "clamp")  # what relative attention knows of distances beyond its table


@dataclasses.dataclass
class TransformerConfig:
    """Stack of pre-norm blocks: by default with relative self-attention.

    It walks over steps: one a frame where there is one codebook, more where the pattern of several asks for more (see
    `codes/patterns.py` and `PriorConfig.num_steps`).
    """

    layer: str = "relative"  # what of a block looks at other positions: see `LAYERS`
    num_layers: int = 72  # blocks
    width: int = 4800  # residual stream, and units of an LSTM
    num_heads: int = 10  # attention heads
    head_dim: int = 128  # width of a head; num_heads * head_dim may be smaller than width (narrow attention)
    mlp_width: int = 4800  # hidden units of the MLP; 0 leaves it out, behind LSTMs only
    max_distance: int = 0  # distances, in steps, whose vectors attention learns; 0 is as many as a window has steps
    beyond: str = "zero"  # attention beyond max_distance: zero (position unknown) | clamp (as the furthest known one)
    window: int = 0  # steps back that attention sees beside the current one; 0 sees all of the window's
    attention: str = "blocked"  # how attention is computed: see `ATTENTIONS`
    dropout: float = 0.0  # on the outputs of attention and MLP
    remat: str = "full"  # what the backward pass recomputes of a block: see `REMAT`

    # What the blocks of these models have in common; `JukeboxTransformerConfig` says the same of the published ones.
    activation: ClassVar[str] = "gelu"
    norm_epsilon: ClassVar[float] = 1e-6
    exact_variance: ClassVar[bool] = False  # of the norms: in two passes
    final_norm: ClassVar[bool] = True  # behind the last block
    scanned: ClassVar[bool] = True  # the layers are one block with a leading axis, not a list
    reads_all_rows: ClassVar[bool] = True  # a step of decoding looks at every row of the cache
    init_std: ClassVar[float] = 0.02  # of a matrix
    biases: ClassVar[bool] = True  # of attention and MLPs, but for relative attention, which has none
    cosines_first: ClassVar[bool] = False  # of the sinusoids: the order of the two blocks

    @property
    def kinds(self) -> tuple[str, ...]:
        """Attention of every layer; see `transformer.attention`."""
        return (LAYERS[self.layer],) * self.num_layers

    @property
    def adds_positions(self) -> bool:
        """Whether the stack adds sinusoids to its input, since its layers do not know positions."""
        return self.layer == "absolute"

    @property
    def out_std(self) -> float:
        """Standard deviation of a matrix whose product is added to the residual stream.

        GPT-2's scaling: with 2 * num_layers such sums the stream's variance stays as it was.
        """
        return self.init_std / (2 * self.num_layers) ** 0.5

    def validate(self) -> None:
        require_range("transformer.num_layers", self.num_layers, 1, 10_000)
        for name in ("width", "num_heads", "head_dim"):
            require_range(f"transformer.{name}", getattr(self, name), 1, 2**20)
        require_range("transformer.mlp_width", self.mlp_width, 0 if self.layer == "lstm" else 1, 2**20)
        for name in ("max_distance", "window"):
            value = getattr(self, name)
            require(value >= 0, f"transformer.{name}={value}: must be 0 (all there are) or more steps")
            alone = self.layer == "relative" or not value
            require(alone, f"transformer.{name}={value}: is of transformer.layer=relative alone; use 0")
        for name, known in (("layer", LAYERS), ("beyond", BEYOND), ("attention", ATTENTIONS)):
            value = getattr(self, name)
            require(value in known, f"transformer.{name}={value!r}: must be one of {', '.join(known)}")
        require(0 <= self.dropout < 1, f"transformer.dropout={self.dropout}: must be in [0, 1)")
        require(self.remat in REMAT, f"transformer.remat={self.remat!r}: must be one of {', '.join(REMAT)}")


@dataclasses.dataclass
class ConditionerConfig:
    """Non-causal residual convolutions over the codes of the tier above, then upsampling to this tier's rate; and over
    the characters of lyrics."""

    width: int = 1024  # channels
    depth: int = 16  # residual blocks
    dilation_growth: int = 3  # block r has dilation dilation_growth ** (r % dilation_cycle)
    dilation_cycle: int = 8  # the dilations start again after this many blocks

    @property
    def dilations(self) -> list[int]:
        """Of each residual block."""
        return [self.dilation_growth ** (block % self.dilation_cycle) for block in range(self.depth)]

    def validate(self) -> None:
        require_range("conditioner.width", self.width, 1, 2**20)
        for name in ("depth", "dilation_growth", "dilation_cycle"):
            require_range(f"conditioner.{name}", getattr(self, name), 1, 1000)


@dataclasses.dataclass
class QuantizationConfig:
    """How the matrices of a trained prior are kept and multiplied; `compress --method=int8` sets it."""

    weights: str = "float"  # float | int8 (symmetric, with a scale for each output channel)
    activations: str = "float"  # what int8 weights are multiplied with: float | int8 (rounded row by row as they come)

    def validate(self) -> None:
        for name in ("weights", "activations"):
            value = getattr(self, name)
            require(value in ("float", "int8"), f"quantization.{name}={value!r}: must be float or int8")
        require(
            self.weights == "int8" or self.activations == "float",
            "quantization.activations='int8' needs quantization.weights='int8'",
        )


@dataclasses.dataclass
class PriorConfig:
    """Autoregressive model of one stream's codes given labels, timing and the codes of the stream above."""

    causal: ClassVar[bool] = True  # whether a code sees those before it alone, or both ways

    tier: str = "top"  # the stream of codes that it models, by its name in the layout
    context: int = 8192  # frames of codes of a window
    num_codes: int = 2048  # codebook size; read from the codes
    num_codebooks: int = 1  # codes a frame, each of a codebook of its own; read from the codes
    pattern: str = "delay"  # of several codebooks: see `PATTERNS`
    above: str = ""  # the stream whose codes it is told, or none; read from the codes
    upsampling: int = 0  # frames of this stream for one of that above, 0 without one; read from the codes
    codes_per_second: float = 0.0  # frames of this stream; read from the codes
    vqvae: str = ""  # fingerprint of the tokenizer; read from the codes
    track_seconds: float = 0.0  # mean length of the training tracks; read from the codes
    labels: tuple[str, ...] = ()  # names of the labels that it is told; () is all that the training data have
    label_values: int = 0  # of each label it knows so many values, the most frequent ones; 0 is all, others are unknown
    label_tracks: int = 1  # and of these only those that so many training tracks have
    vocabularies: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # label -> the values that it
    # knows, "unknown" first; read from the training data
    timing_bins: int = 64  # bins of the elapsed fraction and of the total length
    max_seconds: float = 600.0  # total lengths are binned between 0 and this
    label_dropout: float = 0.0  # share of training windows whose labels are all hidden; guidance needs some
    timing_dropout: float = 0.0  # share of training windows whose place and length of the track are hidden
    above_dropout: float = 0.0  # share of training windows whose codes of the tier above are hidden
    score: bool = False  # whether it is told the score: the codes must have been extracted from music with scores
    score_dropout: float = 0.0  # share of training windows whose score is hidden; to sample without one needs some
    score_ahead: float = 0.0  # seconds within which it is told a pitch's next onset; 0 tells what sounds now alone
    score_notes: int = 0  # notes that a training window may have; read from the codes
    lyrics: bool = False  # whether it is told the lyrics: the codes must have been extracted from music with lyrics
    lyrics_dropout: float = 0.0  # share of training windows whose lyrics are hidden; to sample without needs some
    lyrics_margin: float = 2.0  # seconds before and behind a window whose words it is told, too
    lyrics_aligned: bool = False  # whether each frame is told besides which character is sung in it
    lyric_tokens: int = 0  # characters that a training window may have; read from the codes
    characters: tuple[str, ...] = ()  # vocabulary; read from the training codes
    text: bool = False  # whether it is told the caption: the codes must have been extracted from music with captions
    text_dropout: float = 0.0  # share of training windows whose caption is hidden; guidance needs some
    text_encoder: str = ""  # fingerprint of what makes vectors of captions; read from the encoder
    text_width: int = 0  # numbers of such a vector; read from the encoder
    text_tokens: int = 0  # vectors that the caption of a training track may have; read from the codes
    guided_by: tuple[str, ...] = ()  # conditions that count as much as it is told by a number, in one row; () is none:
    # then guidance compares two; `compress --method=guide` sets it
    most_guidance: float = 5.0  # the largest such number
    loss_chunk: int = 0  # steps of each window whose logits the loss holds at a time; 0 is all of them
    transformer: TransformerConfig = dataclasses.field(default_factory=TransformerConfig)
    conditioner: ConditionerConfig = dataclasses.field(default_factory=ConditionerConfig)
    quantization: QuantizationConfig = dataclasses.field(default_factory=QuantizationConfig)

    prefix: ClassVar[int] = 0  # positions of the transformer before the first code
    hears_meter: ClassVar[bool] = False  # a composer may
    hears_timing: ClassVar[bool] = True  # whether it is told where in the track a window lies, and the track's length
    output_bias: ClassVar[bool] = True  # of the logits
    absent_by_codebook: ClassVar[bool] = False  # whether a code that is not there has a vector for each codebook
    text_padding: ClassVar[str] = "masked"  # what attention makes of a caption's empty places; see `MusicgenConfig`
    melody: ClassVar[bool] = False  # whether it is told a melody; published models may be

    @property
    def named_labels(self) -> tuple[str, ...]:
        """The names in `labels`, of which an override gives several in one text: --config.model.labels=pitch,family."""
        return tuple(name.strip() for text in self.labels for name in text.split(","))

    @property
    def int8_cache(self) -> bool:
        """Whether its attention reads keys and values that are rounded."""
        return self.transformer.layer == "relative"

    def cache_rows(self, num_steps: int) -> int:
        """Rows of a cache for so many steps."""
        return 1 if self.transformer.layer == "lstm" else num_steps

    def dropout_of(self, condition: str) -> float:
        """Share of training windows that are not told a condition, one of `CONDITIONS`; 0 where it is none of it."""
        told = {"above": bool(self.upsampling), "guidance": False}
        told |= {name: getattr(self, name) for name in ("score", "lyrics", "text")}
        return getattr(self, CONDITIONS[condition]) if told.get(condition, True) else 0.0

    @property
    def multiple(self) -> int:
        """Windows begin at multiples of so many codes: those for one of the stream above."""
        return max(self.upsampling, 1)

    @property
    def num_steps(self) -> int:
        """Positions of the stack for the `context` frames of a window."""
        extra = {
            "delay": self.num_codebooks - 1,
            "stereo_delay": (self.num_codebooks - 1) // 2,
            "flat": self.context * (self.num_codebooks - 1),
        }
        return self.context + extra[self.pattern]

    def validate(self) -> None:
        require(self.tier.isidentifier(), f"model.tier={self.tier!r}: must be the name of a stream, such as top")
        require_range("model.context", self.context, 2, 2**24)
        require_range("model.num_codebooks", self.num_codebooks, 1, 1024)
        require(self.pattern in PATTERNS, f"model.pattern={self.pattern!r}: must be one of {', '.join(PATTERNS)}")
        paired = self.pattern != "stereo_delay" or self.num_codebooks % 2 == 0
        rule = f"the {self.num_codebooks} codebooks of a frame are not those of two channels by turns; use delay"
        require(paired or not self.vqvae, f"model.pattern={self.pattern}: {rule}")
        if self.upsampling:
            require(
                self.context % self.upsampling == 0,
                f"model.context={self.context}: must be a multiple of the {self.upsampling} codes for one of the tier "
                "above",
            )
        require(self.timing_bins >= 1, f"model.timing_bins={self.timing_bins}: must be at least 1")
        require(self.max_seconds > 0, f"model.max_seconds={self.max_seconds}: must be positive")
        for name in self.named_labels:
            require(
                name.isidentifier(), f"model.labels={','.join(self.labels)}: {name!r} must be a name, such as genre"
            )
        require_range("model.label_values", self.label_values, 0, 2**24)
        require_range("model.label_tracks", self.label_tracks, 1, 2**24)
        for name in CONDITIONS.values():
            share = getattr(self, name)
            require(0 <= share < 1, f"model.{name}={share}: must be in [0, 1)")
        require_range("model.score_ahead", self.score_ahead, 0, 60)
        require_range("model.score_notes", self.score_notes, 0, 2**24)
        require_range("model.lyrics_margin", self.lyrics_margin, 0, 600)
        require_range("model.lyric_tokens", self.lyric_tokens, 0, 2**20)
        require_range("model.text_width", self.text_width, 0, 2**20)
        require_range("model.text_tokens", self.text_tokens, 0, 2**20)
        require(self.loss_chunk >= 0, f"model.loss_chunk={self.loss_chunk}: must be 0 (all codes at once) or more")
        self.transformer.validate()
        self.conditioner.validate()
        self.quantization.validate()


@dataclasses.dataclass
class PriorTraining:
    """All that `train_prior` needs."""

    kind: ClassVar[str] = "prior"  # of `kinds.KINDS`

    model: PriorConfig = dataclasses.field(default_factory=PriorConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    unknown_labels: float = 0.05  # share of training windows that are told a label as unknown, of each label by itself
    merged_captions: float = 0.25  # share of training windows that are told what else is known of a track (genre, mood,
    # instruments, tempo) behind its caption, or in its place
    shard_sequence: bool = False  # between the blocks, divide activations over mesh.tensor along the codes
    init: InitConfig = dataclasses.field(default_factory=InitConfig)
    lora: LoRAConfig = dataclasses.field(default_factory=LoRAConfig)

    @property
    def taught(self) -> bool:
        """Whether it learned from another model."""
        return False

    @property
    def transformer(self) -> TransformerConfig:
        """Of the blocks that training walks through; None in runs that have none."""
        return self.model.transformer

    def validate(self) -> None:
        for part in (self.model, self.data, self.mesh, self.optimizer, self.training, self.init, self.lora):
            part.validate()
        require(
            self.model.quantization.weights == "float",
            f"model.quantization.weights={self.model.quantization.weights!r}: training needs float weights; compress "
            "--method=int8 rounds those of a trained prior",
        )
        require(
            not self.model.guided_by,
            f"model.guided_by={','.join(self.model.guided_by)}: training on would forget guidance, which `compress "
            "--method=guide` teaches: train the model that it was made of",
        )
        share = self.unknown_labels
        require(0 <= share < 1, f"unknown_labels={share}: must be in [0, 1)")
        share = self.merged_captions
        require(0 <= share <= 1, f"merged_captions={share}: must be in [0, 1]")
        # Whether there is a stream above is known once the codes are.
        require(
            not (self.model.vqvae and self.model.above_dropout) or self.model.upsampling > 0,
            f"model.above_dropout={self.model.above_dropout}: the {self.model.tier} prior is told no stream above; use "
            "0",
        )
        require(
            self.data.batch_size % self.training.accumulation_steps == 0,
            f"data.batch_size={self.data.batch_size} must be divisible by "
            f"training.accumulation_steps={self.training.accumulation_steps}",
        )
        require(
            not self.shard_sequence or self.model.num_steps % self.mesh.tensor == 0,
            f"model.context={self.model.context}: with shard_sequence the {self.model.num_steps} steps of a window "
            f"must be a multiple of mesh.tensor={self.mesh.tensor}",
        )
