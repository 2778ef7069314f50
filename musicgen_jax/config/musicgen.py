"""MusicGen (Copet et al. 2023), and its training."""

import dataclasses
from typing import ClassVar

from musicgen_jax.config.fields import require, require_range
from musicgen_jax.config.prior import PriorConfig, PriorTraining, TransformerConfig

# What attention makes of the empty places behind a caption that is shorter than others beside it.
PADDINGS = (
    "masked",  # they are not there, as in Hugging Face's transformers
    "zeros",  # zeros that attention sees, so that they take a share of it, as in audiocraft
)
PITCH_CLASSES = 12  # of a melody's frames


@dataclasses.dataclass
class MusicgenTransformerConfig(TransformerConfig):
    """Pre-norm blocks without biases that read a text; sinusoids added to their input say where a step lies."""

    layer: str = "absolute"
    num_layers: int = 24
    width: int = 1024
    num_heads: int = 16
    head_dim: int = 64
    mlp_width: int = 4096

    activation: ClassVar[str] = "exact_gelu"
    norm_epsilon: ClassVar[float] = 1e-5
    exact_variance: ClassVar[bool] = True
    biases: ClassVar[bool] = False
    cosines_first: ClassVar[bool] = True

    def validate(self) -> None:
        super().validate()
        require(self.layer == "absolute", f"transformer.layer={self.layer}: MusicGen's layers are absolute")


@dataclasses.dataclass
class MusicgenConfig(PriorConfig):
    """Autoregressive model of the codes of a residual tokenizer, a step a frame, told a text and perhaps a melody."""

    tier: str = "codes"
    context: int = 1500  # frames of codes of a window: 30 s of 50 frames
    num_codebooks: int = 4
    text: bool = True
    text_dropout: float = 0.3
    text_padding: str = "masked"  # what attention makes of a caption's empty places: see `PADDINGS`
    timing: bool = False  # whether it is told where in the track a window lies; published models are not
    melody: bool = False  # whether melody and text stand before the codes, and no layer reads a memory
    chroma_frames: int = 0  # of a melody
    chroma_seconds: float = 0.0  # that these frames are of
    guidance: float = 3.0  # of sampling, where nobody says another
    top_k: int = 250  # likewise
    transformer: MusicgenTransformerConfig = dataclasses.field(default_factory=MusicgenTransformerConfig)

    output_bias: ClassVar[bool] = False
    absent_by_codebook: ClassVar[bool] = True

    @property
    def hears_timing(self) -> bool:
        """Whether it is told where in the track a window lies, and the track's length."""
        return self.timing

    @property
    def int8_cache(self) -> bool:
        return True

    def dropout_of(self, condition: str) -> float:
        """Share of training windows that are not told a condition."""
        return super().dropout_of(condition) if condition != "timing" or self.timing else 0.0

    def validate(self) -> None:
        super().validate()
        known = ", ".join(PADDINGS)
        require(self.text_padding in PADDINGS, f"model.text_padding={self.text_padding!r}: must be one of {known}")
        require_range("model.chroma_frames", self.chroma_frames, 1 if self.melody else 0, 2**20)
        require_range("model.chroma_seconds", self.chroma_seconds, 0, 3600)
        require_range("model.guidance", self.guidance, 0, 1000)
        require_range("model.top_k", self.top_k, 0, 2**24)
        rule = "a melody stands beside the text, and before codes of which no other condition is a memory"
        alone = self.text and not self.lyrics
        require(alone or not self.melody, f"model.melody={self.melody}: {rule}; use text=true and lyrics=false")


@dataclasses.dataclass
class MusicgenTraining(PriorTraining):
    """All that `train_prior` needs to train one; its data are those of extract_codes."""

    kind: ClassVar[str] = "musicgen"

    model: MusicgenConfig = dataclasses.field(default_factory=MusicgenConfig)

    def validate(self) -> None:
        super().validate()
        rule = "files of codes hold no melodies: train with text alone, or start from a published model"
        require(not self.model.melody or not self.data.path, f"model.melody={self.model.melody}: {rule}")
