"""The composers: models of scores, and their training."""

import dataclasses
from typing import ClassVar

from musicgen_jax.config.fields import require, require_range
from musicgen_jax.config.prior import PriorConfig, PriorTraining

# Tokens of a score -> how many of them are one step in time.
TOKENS = {
    "grid": 4,  # four voices by turns, each a note's begin, a hold or a rest on a grid of sixteenths
    "performance": 1,  # keys down and up, time passing, loudness: 388 events
}
STREAM = "score"  # name of the stream of a score's tokens, the coarsest of all


@dataclasses.dataclass
class ComposerConfig(PriorConfig):
    """Autoregressive model of the tokens of a score given labels, timing and the meter where it is known."""

    tier: str = STREAM
    context: int = 1024  # tokens of a window; of a grid four a sixteenth
    tokens: str = "grid"  # what a score is told in: see `TOKENS`
    position: bool = True  # whether a model of a grid is told where in beat, bar and phrase the next token lies
    position_dropout: float = 0.1  # share of training windows that are told the voice alone
    lowest_pitch: int = 36  # of a grid; read from the scores
    highest_pitch: int = 81  # of a grid; read from the scores
    bar_steps: int = 0  # sixteenths of the most common bar, 0 unknown; read from the scores
    upbeat_steps: int = 0  # sixteenths before the first whole bar, most commonly; read from the scores
    fermata_steps: int = 0  # sixteenths of the usual held end of a phrase, 0 unknown; read from the scores
    phrase_steps: tuple[int, ...] = ()  # lengths that phrases have, as often as they have them; read from the scores

    @property
    def voices(self) -> int:
        """Tokens of a step in time: of a grid one a voice."""
        return TOKENS[self.tokens]

    @property
    def multiple(self) -> int:
        return self.voices

    @property
    def hears_meter(self) -> bool:
        """Whether it is told where in beat, bar and phrase the next token lies."""
        return self.position and self.tokens == "grid"

    def dropout_of(self, condition: str) -> float:
        """Share of training windows that are not told a condition."""
        return self.position_dropout if condition == "position" else super().dropout_of(condition)

    def validate(self) -> None:
        require(self.tokens in TOKENS, f"model.tokens={self.tokens!r}: must be one of {', '.join(TOKENS)}")
        require(self.tier == STREAM, f"model.tier={self.tier!r}: a composer's stream is {STREAM}")
        rule = "only a composer of tokens=grid is told lyrics: a performance has no time of its own"
        require(not self.lyrics or self.tokens == "grid", f"model.lyrics={self.lyrics}: {rule}")
        require(not self.text, f"model.text={self.text}: a composer is told no captions; leave it out")
        super().validate()
        require(
            self.context % self.voices == 0,
            f"model.context={self.context}: must be a multiple of {self.voices}, the tokens of a step of "
            f"model.tokens={self.tokens}",
        )
        share = self.position_dropout
        require(0 <= share < 1, f"model.position_dropout={share}: must be in [0, 1)")


@dataclasses.dataclass
class AugmentationConfig:
    """How a training window differs from the score it was cut from; drawn anew for each window."""

    transposition: int = 6  # semitones up or down at most
    tempo: float = 0.05  # share by which performances are stretched or squeezed at most; a grid knows no tempo

    def validate(self) -> None:
        require_range("augmentation.transposition", self.transposition, 0, 48)
        require(0 <= self.tempo < 1, f"augmentation.tempo={self.tempo}: must be in [0, 1)")


@dataclasses.dataclass
class ComposerTraining(PriorTraining):
    """All that `train_prior` needs to train a composer; its data are those of prepare_data or extract_codes."""

    kind: ClassVar[str] = "composer"

    model: ComposerConfig = dataclasses.field(default_factory=ComposerConfig)
    augmentation: AugmentationConfig = dataclasses.field(default_factory=AugmentationConfig)

    def validate(self) -> None:
        super().validate()
        self.augmentation.validate()
