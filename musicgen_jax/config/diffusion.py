"""The diffusion models over codes, their training and their distillation."""

import dataclasses
from typing import ClassVar

from musicgen_jax.config.fields import require
from musicgen_jax.config.prior import PriorConfig, PriorTraining

SCHEDULES = ("linear", "cosine")  # how the share of masked codes grows with time


@dataclasses.dataclass
class DiffusionConfig(PriorConfig):
    """Absorbing-state diffusion model of one tier's codes: a prior's sizes and conditioning."""

    causal: ClassVar[bool] = False

    schedule: str = "linear"  # of the masks in training, and of how many codes each step of the sampler makes known

    def validate(self) -> None:
        super().validate()
        require(
            self.num_codebooks == 1,
            f"model.num_codebooks={self.num_codebooks}: a diffusion model is of codes of one codebook; train a prior "
            "(configs/prior.py) on these",
        )
        layer = self.transformer.layer
        require(layer == "relative", f"transformer.layer={layer!r}: a diffusion model looks both ways: use relative")
        require(self.schedule in SCHEDULES, f"model.schedule={self.schedule!r}: must be one of {', '.join(SCHEDULES)}")


@dataclasses.dataclass
class DistillationConfig:
    """What a distilled model learned from; written by `compress --method=distill`, off in a run of its own."""

    teacher: str = ""  # workdir of the prior, or of the model of the round before; "": there is no teacher
    steps: int = 0  # steps of the sampler that the round is for; 0: any mask
    num_samples: int = 0  # windows that the prior sampled for training
    data_share: float = 0.5  # of the training windows that come from the data; the rest are the prior's samples
    soft_share: float = 0.5  # weight of the teacher's probabilities in the rounds by steps; the rest: the codes

    def validate(self) -> None:
        require(self.steps >= 0, f"distillation.steps={self.steps}: must be 0 (any mask) or more")
        require(self.num_samples >= 0, f"distillation.num_samples={self.num_samples}: must be 0 or more")
        for name in ("data_share", "soft_share"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"distillation.{name}={value}: must be in [0, 1]")


@dataclasses.dataclass
class DiffusionTraining(PriorTraining):
    """All that `train_prior` needs to train a diffusion model."""

    kind: ClassVar[str] = "diffusion"

    model: DiffusionConfig = dataclasses.field(default_factory=DiffusionConfig)
    distillation: DistillationConfig = dataclasses.field(default_factory=DistillationConfig)

    @property
    def taught(self) -> bool:
        return self.distillation != DistillationConfig()

    def validate(self) -> None:
        super().validate()
        self.distillation.validate()
