"""A trained prior as sampling and evaluation take it."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import lyric_windows
from musicgen_jax.codes.layout import Layout
from musicgen_jax.data import labels
from musicgen_jax.data.lyrics import Lyrics, parse
from musicgen_jax.nn import modules

CAPTION_STEP = 16  # captions are filled up to multiples of so many vectors: other lengths would compile anew


@dataclasses.dataclass(frozen=True)
class Words:
    """What is said of a piece of music in words: label -> value, and its lyrics; "" is unknown."""

    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lyrics: str = ""
    sung_seconds: float = 0.0  # over which lyrics without times are spread
    text: str = ""  # a caption
    beside: tuple[str, ...] = ()  # captions of all that is made together: as long as the longest are all made

    def sung(self) -> Lyrics | None:
        """The lyrics and when they are sung; None where there are none."""
        return parse(self.lyrics, self.sung_seconds) if self.lyrics.strip() else None

    def without(self, names: Collection[str]) -> "Words":
        """The same but for these labels."""
        return dataclasses.replace(self, labels={name: one for name, one in self.labels.items() if name not in names})


@dataclasses.dataclass(frozen=True)
class TrainedPrior:
    """A prior and its weights, on one device.

    Attributes:
      config: of the model.
      functional: binds weights to the module.
      weights: (params, buffers).
      codes_path: the code shards it was trained on.
      text_encoder: of captions, `text.text_encoder.TextEncoder`; None where there is none, or none is needed.
    """

    config: config.PriorConfig
    functional: modules.Functional
    weights: tuple[modules.Tree, modules.Tree]
    codes_path: str
    text_encoder: Any = dataclasses.field(default=None, kw_only=True, compare=False)
    _captions: dict[str, np.ndarray] = dataclasses.field(default_factory=dict, kw_only=True, compare=False, repr=False)

    sampler: ClassVar[str] = "autoregressive"  # of `config.SAMPLERS`: how its codes are drawn
    scores_codes: ClassVar[bool] = True  # whether it gives the likelihood of codes, which `evaluate` measures
    windowed: ClassVar[bool] = True  # window by window, code after code: then hop, cache and parallel windows count

    @classmethod
    def of_run(
        cls, run: config.PriorTraining, functional: modules.Functional, weights: tuple[modules.Tree, modules.Tree]
    ) -> "TrainedPrior":
        """The trained prior of a run, from its config, module and weights."""
        return cls(run.model, functional, weights, run.data.path)

    def require_tokenizer(self, layout: Layout) -> None:
        """Raises UserError unless the prior was trained on codes of the tokenizer of this layout."""
        config.require(
            self.config.vqvae == layout.fingerprint,
            f"`{self.config.tier}`: this prior was trained on codes of VQ-VAE {self.config.vqvae}, but `vqvae` is "
            f"{layout.fingerprint}: pass the VQ-VAE that extracted its codes",
        )

    @property
    def vocabularies(self) -> Mapping[str, tuple[str, ...]]:
        """Label -> the values of it that the prior knows."""
        return self.config.vocabularies

    @property
    def hears_lyrics(self) -> bool:
        """Whether lyrics are a condition of it."""
        return self.config.lyrics

    @property
    def needs_lyrics(self) -> bool:
        """Whether it was never trained without lyrics."""
        return self.config.lyrics and self.config.lyrics_dropout == 0

    @property
    def usual_seconds(self) -> float:
        """Length of the pieces that it knows, for one whose length nobody says."""
        return self.config.track_seconds

    def require_known(self, words: Words) -> None:
        """Raises UserError for a label, or a value of one, that it does not know."""
        labels.require_all_known(words.labels, self.vocabularies)

    def foreign(self, words: Words) -> tuple[str, ...]:
        """Names of the labels of which it does not know the value and may take it for unknown.

        Somebody else must know them: a cascade may be of priors with different vocabularies.
        """
        return ()

    def require_told(self, words: Words, total_seconds: float) -> None:
        """Raises UserError for words that it does not know and that are not `foreign`, or a length that it cannot be
        told."""
        rule = "train it with --config.model.lyrics_dropout=0.15"
        config.require(
            words.sung() is not None or not self.needs_lyrics,
            f"`lyrics`: the {self.config.tier} prior was never trained without lyrics: pass some, or {rule}",
        )
        rule = "train it with --config.model.text_dropout=0.3"
        config.require(
            bool(words.text.strip()) or not self.config.text or self.config.text_dropout > 0,
            f"`text`: the {self.config.tier} prior was never trained without captions: pass one, or {rule}",
        )
        self.require_known(words.without(self.foreign(words)))

    def require_guidance(self, guidance: float, conditions: Sequence[str]) -> None:
        """Raises UserError where guidance is on (other than 1) and it cannot do without one of these conditions, or is
        told a guidance of others or none so large."""
        if guidance == 1:
            return
        tier, own = self.config.tier, self.config.guided_by
        if own:
            asked, taught, most = ",".join(conditions), ",".join(own), self.config.most_guidance
            rule = f"the {tier} prior was taught guidance by {taught} alone, from 1 to {most:g}"
            config.require({*conditions} == {*own}, f"`guide_by`={asked}: {rule}; use {taught}")
            config.require(1 <= guidance <= most, f"`guidance`={guidance}: {rule}")
            return
        known = config.CONDITIONS
        for name in conditions:
            config.require(name in known, f"`guide_by`={name}: must be one of {', '.join(known)}")
            config.require(
                self.config.dropout_of(name) > 0,
                f"`guidance`={guidance}: the {tier} prior was never trained without {name}, which guidance compares "
                f"with; use 1, or train it with --config.model.{known[name]}=0.1",
            )

    @property
    def usual_options(self) -> Mapping[str, float]:
        """Options of sampling by stream that suit it better than usual ones; `guidance` where something guides."""
        return {}

    def with_text_encoder(self, encoder: Any) -> "TrainedPrior":
        """The prior with what its captions are encoded by.

        Raises:
          UserError: it was trained with another encoder.
        """
        known, width = self.config.text_encoder, self.config.text_width
        fits = known in ("", encoder.fingerprint) and width == encoder.width
        rule = f"that of the {self.config.tier} prior is {known or 'another'}, of width {width}"
        config.require(fits, f"`text_encoder` is {encoder.fingerprint}, of width {encoder.width}: {rule}; pass it")
        return dataclasses.replace(self, text_encoder=encoder, _captions={})

    def fits_steps(self, steps: int | None) -> bool:
        """Whether these are the weights for so many parallel steps a window; None: for those that nobody names."""
        return True

    def with_names(self, workdir: str) -> "TrainedPrior":
        """The prior with what its folder knows of its words, besides config and weights."""
        return self

    def told(self, batch: Mapping[str, np.ndarray], words: Sequence[Words]) -> dict[str, np.ndarray]:
        """The arrays that the model's conditions read.

        Args:
          batch: int32 arrays of B windows: `codes`, `above` where there are any, and [B] `start` and `length`, the
            window's first code in its track and codes of the whole track.
          words: of each of the B rows.
        """
        found = {**batch, "labels": np.stack([labels.encode_all(one.labels, self.config) for one in words])}
        if self.config.lyrics:
            begins = batch["start"] / self.config.codes_per_second
            found |= lyric_windows.of_windows(self.config, [one.sung() for one in words], begins)
        return found | (self._captioned(words) if self.config.text else {})

    def _captioned(self, words: Sequence[Words]) -> dict[str, np.ndarray]:
        """`text` float32 [B, M, W] and `text_mask` bool [B, M] of the captions of B windows."""
        longest = max(len(self._caption(text)) for one in words for text in (one.text, *one.beside))
        exact = self.config.melody or self.config.text_padding != "masked"  # where empty places are heard
        size = max(longest if exact else -(-longest // CAPTION_STEP) * CAPTION_STEP, 1)
        states = np.zeros((len(words), size, max(self.config.text_width, 1)), np.float32)
        for row, one in enumerate(words):
            states[row, : len(self._caption(one.text))] = self._caption(one.text)
        lengths = np.array([len(self._caption(one.text)) for one in words])
        return {"text": states, "text_mask": np.arange(size) < lengths[:, None]}

    def _caption(self, text: str) -> np.ndarray:
        """A caption's vectors, float32 [M, W]; none of an empty one."""
        if not text.strip():
            return np.zeros((0, self.config.text_width), np.float32)
        if text not in self._captions:
            states, mask = self.text_encoder.encode([text])
            self._captions[text] = np.asarray(states, np.float32)[0][np.asarray(mask)[0]]
        return self._captions[text]

    def judged(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Windows of `code_dataset.Windows`, with a leading [B], as the model reads them."""
        return dict(batch)
