"""The published priors of Jukebox (Dhariwal et al. 2020), as they are; our own are in `prior.py`."""

import dataclasses
from typing import ClassVar

from musicgen_jax.config.fields import require, require_range
from musicgen_jax.config.prior import ConditionerConfig, QuantizationConfig

LAYER_ORDERS = ("factored", "factored_cross", "factored_prime")
PUBLISHED = ("top", "middle", "bottom")  # the tiers that it has priors of
_FACTORED = ("row", "column", "previous_row")
LYRICS = ("none", "encoder", "prefix")


@dataclasses.dataclass
class JukeboxTransformerConfig:
    """Narrow blocks with factored attention and learned absolute positions."""

    num_layers: int = 72  # blocks
    width: int = 4800  # residual stream
    num_heads: int = 8  # attention heads
    attention_width: int = 1200  # of all heads together
    mlp_width: int = 4800  # hidden units of the MLP
    num_rows: int = 128  # rows that factored attention lays the sequence out in
    layers: str = "factored"  # kinds of attention: factored | factored_cross | factored_prime
    init_scale: float = 0.1  # multiplies the standard deviations of the initial weights

    # As `TransformerConfig` has them.
    activation: ClassVar[str] = "quick_gelu"
    norm_epsilon: ClassVar[float] = 1e-5
    exact_variance: ClassVar[bool] = True
    final_norm: ClassVar[bool] = False
    scanned: ClassVar[bool] = False
    adds_positions: ClassVar[bool] = False  # `TokenStack` has a table of them
    reads_all_rows: ClassVar[bool] = False  # but for one layer of `factored_prime`
    dropout: ClassVar[float] = 0.0
    window: ClassVar[int] = 0
    remat: ClassVar[str] = "none"  # unless the model's own says otherwise
    biases: ClassVar[bool] = True
    cosines_first: ClassVar[bool] = False

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.attention_width // self.num_heads

    @property
    def init_std(self) -> float:
        """Standard deviation of the initial values of every matrix."""
        return 0.02 * self.init_scale

    @property
    def out_std(self) -> float:
        """That of matrices whose product is added to the residual stream: no smaller than the others' here."""
        return self.init_std

    @property
    def kinds(self) -> tuple[str, ...]:
        """Attention of every layer; see `sparse_masks`.

        `factored` repeats row, column, previous row. `factored_cross` attends to lyrics at 18, 28, ... 78, and the
        three start anew behind each. `factored_prime` has a prime layer in place of 15, 31, 63, a dense one in place
        of 47.
        """

        def kind(layer: int) -> str:
            if self.layers == "factored_cross" and layer >= 9:
                place = (layer - 9) % 10
                return "cross" if place == 9 else _FACTORED[place % 3]
            if self.layers == "factored_prime" and layer % 16 == 15:
                return ("prime", "prime", "dense")[layer % 3]
            return _FACTORED[layer % 3]

        return tuple(kind(layer) for layer in range(self.num_layers))

    def validate(self) -> None:
        require_range("transformer.num_layers", self.num_layers, 1, 10_000)
        for name in ("width", "num_heads", "attention_width", "mlp_width", "num_rows"):
            require_range(f"transformer.{name}", getattr(self, name), 1, 2**20)
        require(
            self.attention_width % self.num_heads == 0,
            f"transformer.attention_width={self.attention_width}: must be a multiple of num_heads={self.num_heads}",
        )
        require(self.layers in LAYER_ORDERS, f"transformer.layers={self.layers!r}: must be one of {LAYER_ORDERS}")


@dataclasses.dataclass
class JukeboxPriorConfig:
    """One of the published priors; those released are in `conversion.jukebox_prior.RELEASED`."""

    kind: ClassVar[str] = "jukebox_prior"  # of `kinds.KINDS`

    tier: str = "top"  # top | middle | bottom
    context: int = 8192  # codes of a window
    num_codes: int = 2048  # codebook size
    sample_rate: int = 44100  # of the audio, in Hz; timing is in seconds of it
    upsampling: int = 0  # codes of this tier for one of the tier above, 0 at the top
    num_genres: int = 120  # genre words or genres
    num_artists: int = 4111  # artists
    max_genres: int = 5  # genre words of a track at most; -1 fills the empty places
    timing_bins: int = 128  # bins of total length, absolute and relative position; read at the top only
    min_seconds: float = 60.0  # total lengths are binned from here
    max_seconds: float = 600.0  # total lengths and absolute positions are binned up to here
    lyrics: str = "none"  # none | encoder (attended to) | prefix (of the sequence of codes)
    lyric_tokens: int = 0  # characters of a window
    lyric_vocabulary: int = 80  # characters there are
    merged: bool = False  # conditioning enters at the input only, and the output has a matrix of its own
    scaled_residuals: bool = False  # the conditioner's residual blocks count 1 / sqrt(depth) each
    remat: bool = True  # recompute each block's activations in the backward pass
    transformer: JukeboxTransformerConfig = dataclasses.field(default_factory=JukeboxTransformerConfig)
    conditioner: ConditionerConfig = dataclasses.field(default_factory=ConditionerConfig)
    lyric_encoder: JukeboxTransformerConfig = dataclasses.field(default_factory=JukeboxTransformerConfig)

    # As `PriorConfig` has them.
    labels: ClassVar[tuple[str, ...]] = ("genre", "artist")
    vocabularies: ClassVar[dict[str, tuple[str, ...]]] = {}  # names are in files beside the weights
    num_codebooks: ClassVar[int] = 1
    score: ClassVar[bool] = False
    text: ClassVar[bool] = False
    melody: ClassVar[bool] = False
    guided_by: ClassVar[tuple[str, ...]] = ()
    pattern: ClassVar[str] = "flat"
    int8_cache: ClassVar[bool] = False
    track_seconds: ClassVar[float] = 180.0  # what the release's examples tell of a piece
    quantization: ClassVar[QuantizationConfig] = QuantizationConfig()

    @property
    def above(self) -> str:
        """The tier whose codes it is told, or none."""
        return {"top": "", "middle": "top", "bottom": "middle"}[self.tier]

    @property
    def num_steps(self) -> int:
        """Positions of the codes of a window: one for each code."""
        return self.context

    @property
    def multiple(self) -> int:
        """Windows begin at multiples of so many codes."""
        return max(self.upsampling, 1)

    @property
    def hop_length(self) -> int:
        """Samples of a code."""
        return {"top": 128, "middle": 32, "bottom": 8}[self.tier]

    @property
    def codes_per_second(self) -> float:
        """Codes of this tier for a second of audio."""
        return self.sample_rate / self.hop_length

    def dropout_of(self, condition: str) -> float:
        """Share of training windows that are not told a condition: none."""
        return 0.0

    def cache_rows(self, num_steps: int) -> int:
        """Rows of a cache for so many steps: what stands before them too, and whole rows of factored attention."""
        return -(-(self.prefix + num_steps) // self.row_length) * self.row_length

    @property
    def row_length(self) -> int:
        """Positions of a row of factored attention."""
        return (self.prefix + self.context) // self.transformer.num_rows

    @property
    def model(self) -> "JukeboxPriorConfig":
        """Itself: no training run wraps it."""
        return self

    @property
    def prefix(self) -> int:
        """Positions of the transformer before the first code."""
        return self.lyric_tokens if self.lyrics == "prefix" else 0

    @property
    def code_shift(self) -> int:
        """The transformer's token of code 0: characters come first where lyrics are a prefix."""
        return self.lyric_vocabulary if self.lyrics == "prefix" else 0

    def validate(self) -> None:
        require(self.tier in PUBLISHED, f"model.tier={self.tier!r}: must be one of {PUBLISHED}")
        for name in ("num_codes", "num_genres", "num_artists", "timing_bins"):
            require_range(f"model.{name}", getattr(self, name), 1, 2**31 - 1)
        require_range("model.context", self.context, 2, 2**24)
        self.transformer.validate()
        self._validate_lyrics()
        length = self.prefix + self.context
        require(
            length % self.transformer.num_rows == 0,
            f"model.context={self.context} with a prefix of {self.prefix}: the sum must be a multiple of "
            f"transformer.num_rows={self.transformer.num_rows}",
        )
        require(
            (self.upsampling == 0) == (self.tier == "top"),
            f"model.upsampling={self.upsampling}: must be 0 at the top and more below, and the tier is {self.tier}",
        )
        if self.upsampling:
            require(
                self.upsampling & (self.upsampling - 1) == 0 and self.context % self.upsampling == 0,
                f"model.upsampling={self.upsampling}: must be a power of two that divides the context {self.context}",
            )
            self.conditioner.validate()
        require(
            0 <= self.min_seconds < self.max_seconds,
            f"model.min_seconds={self.min_seconds}: must be between 0 and max_seconds={self.max_seconds}",
        )

    def _validate_lyrics(self) -> None:
        require(self.lyrics in LYRICS, f"model.lyrics={self.lyrics!r}: must be one of {LYRICS}")
        require(
            (self.lyrics == "none") == (self.lyric_tokens == 0),
            f"model.lyric_tokens={self.lyric_tokens}: must be 0 without lyrics and more with them, and lyrics is "
            f"{self.lyrics}",
        )
        layers = {"none": "factored", "encoder": "factored_cross", "prefix": "factored_prime"}[self.lyrics]
        require(
            self.transformer.layers == layers,
            f"transformer.layers={self.transformer.layers}: must be {layers} where lyrics is {self.lyrics}",
        )
        if self.lyrics == "encoder":
            self.lyric_encoder.validate()
            require(
                self.lyric_tokens % self.lyric_encoder.num_rows == 0,
                f"model.lyric_tokens={self.lyric_tokens}: must be a multiple of "
                f"lyric_encoder.num_rows={self.lyric_encoder.num_rows}",
            )
