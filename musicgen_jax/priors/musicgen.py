"""A trained MusicGen (Copet et al. 2023) as sampling and evaluation take it."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from musicgen_jax import config
from musicgen_jax.conditions import chroma
from musicgen_jax.priors import trained


@dataclasses.dataclass(frozen=True)
class TrainedMusicgen(trained.TrainedPrior):
    """As `TrainedPrior`; the module is `prior.Prior`, of which MusicGen is a setting.

    Attributes:
      melody: int32 [F], the pitch class of each frame of what the music follows; None where it follows nothing.
    """

    config: config.MusicgenConfig
    melody: np.ndarray | None = dataclasses.field(default=None, kw_only=True, compare=False)

    @property
    def usual_options(self) -> Mapping[str, float]:
        """See `TrainedPrior.usual_options`: as published, windows of 30 s move on by 18 s."""
        guidance, most = self.config.guidance, self.config.most_guidance
        guidance = min(guidance, most) if self.config.guided_by else guidance
        return {"guidance": guidance, "top_k": self.config.top_k, "top_p": 1.0, "hop_fraction": 0.6}

    def told(self, batch: Mapping[str, np.ndarray], words: Sequence[trained.Words]) -> dict[str, np.ndarray]:
        """See `TrainedPrior.told`; a melody that is shorter than the music begins anew."""
        found = super().told(batch, words)
        if not self.config.melody:
            return found
        size, melody = self.config.chroma_frames, np.array([chroma.SILENCE]) if self.melody is None else self.melody
        seconds = batch["start"] / self.config.codes_per_second
        first = np.round(seconds * size / max(self.config.chroma_seconds, 1e-9)).astype(np.int64)
        return found | {"chroma": melody[(first[:, None] + np.arange(size)) % len(melody)].astype(np.int32)}

    def judged(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `TrainedPrior.judged`; codes have no melody beside them, so that it is told none."""
        found = super().judged(batch)
        if self.config.melody:
            shape = len(batch["codes"]), self.config.chroma_frames
            found["chroma"] = np.full(shape, chroma.SILENCE, np.int32)
        return found
