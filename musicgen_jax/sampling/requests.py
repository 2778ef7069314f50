"""What to sample: everything that decides the result."""

import dataclasses
import math
from collections.abc import Mapping

from musicgen_jax import config
from musicgen_jax.codes.layout import Layout
from musicgen_jax.priors import trained
from musicgen_jax.sampling import performed, prompts, sampler_settings

DEFAULT_SECONDS, DEFAULT_STEPS = 8.0, 8
MAX_SECONDS, MAX_NUMBER = 100_000, 1_000_000  # positions of any tier fit into 32 bits
DEFAULT_BATCH_SIZE, DEFAULT_PARALLEL_BATCH_SIZE = 8, 32  # windows at a time; of those that run side by side, a device


@dataclasses.dataclass(frozen=True)
class Request:
    """What to sample; everything that decides the result, but for the prompt and the models.

    Attributes:
      seconds: of each sample, prompt included; rounded up to a whole code of the top tier.
      num_samples: how many.
      seed: equal requests give equal samples.
      mode: one of `config.MODES`.
      settings: temperature and filters, by tier.
      genres: names of the priors' vocabulary that the samples take by turns, sample i the name i modulo their number;
        empty for unknown.
      artist: a name of the priors' vocabulary, or "" for unknown.
      lyrics: text of the whole piece, for published priors that hear it.
      hop_fraction: how far each window moves on, as a share of the context; for all tiers or by tier.
      total_seconds: length of the piece that the samples are the beginning of, which the priors are told; 0 takes the
        mean length of the training tracks, or `seconds` if that is more.
      batch_size: windows decoded together; it changes the speed, not the result. None takes 8, or of windows that do
        not wait for each other 32 a device.
      parallel_windows: the windows of the middle and bottom tiers do not wait for each other, see
        `windows.independent`: `batch_size` of them at a time, divided over the devices.
      cache_dtype: of the keys and values of the past, one of `config.CACHE_DTYPES`; int8 takes a quarter of float32's
        memory, and rounds.
      sampler: one of `config.SAMPLERS`; "diffusion" where any of the models is a diffusion model.
      steps: of the diffusion sampler, calls of the network for a window; None takes those that the model was distilled
        for, or 8.
    """

    seconds: float
    num_samples: int = 1
    seed: int = 0
    mode: str = "ancestral"
    settings: sampler_settings.SamplingSettings = dataclasses.field(default_factory=sampler_settings.SamplingSettings)
    genres: tuple[str, ...] = ()
    artist: str = ""
    lyrics: str = ""
    hop_fraction: sampler_settings.ByTier = 0.5
    total_seconds: float = 0.0
    batch_size: int | None = None
    parallel_windows: bool = False
    cache_dtype: str = "compute"
    sampler: str = "autoregressive"
    steps: int | None = None

    def genre_of(self, sample: int) -> str:
        """Genre of sample number `sample`, "" for unknown."""
        return self.genres[sample % len(self.genres)] if self.genres else ""

    def hop_fraction_of(self, tier: str) -> float:
        """Of one tier."""
        return sampler_settings.for_tier(self.hop_fraction, tier, 0.5)

    def num_steps(self, distilled_steps: int) -> int:
        """Of the diffusion sampler, for a model that was distilled for so many, or 0."""
        return (distilled_steps or DEFAULT_STEPS) if self.steps is None else self.steps

    def num_together(self, parallel: bool, num_devices: int = 1) -> int:
        """Windows decoded together, those that wait for each other or those that do not (`parallel`)."""
        if self.batch_size is not None:
            return self.batch_size
        return DEFAULT_PARALLEL_BATCH_SIZE * num_devices if parallel else DEFAULT_BATCH_SIZE

    def words_of(self, sample: int) -> trained.Words:
        """What sample number `sample` is told in words."""
        return trained.Words(self.genre_of(sample), self.artist, self.lyrics)

    def told_seconds(self, prior: trained.TrainedPrior) -> float:
        """Length of the whole piece, which a prior is told."""
        return self.total_seconds or max(self.seconds, prior.usual_seconds)

    def num_frames(self, layout: Layout, stream: str) -> int:
        """Frames of a stream, for whole frames of the coarsest."""
        hop = layout.hop_length
        # Seconds that came from a number of codes must give that number again.
        num_coarsest = math.ceil(round(self.seconds * layout.sample_rate / hop, 6))
        return num_coarsest * (hop // layout.stream(stream).hop_length)

    def given_tiers(self, layout: Layout, sampled: list[str]) -> list[str]:
        """Streams that the prompt must have codes of.

        Args:
          layout: of the tokenizer.
          sampled: from `sampled_tiers`.
        """
        above = layout.stream(sampled[0]).above
        return {
            "ancestral": [],
            "continue": sampled,
            "primed": sampled[:1],
            "upsample": [above] if above else [],
        }[self.mode]

    def validate(
        self,
        layout: Layout,
        priors: Mapping[str, trained.TrainedPrior],
        prompt: prompts.Prompt | None = None,
        scores: performed.Scores | None = None,
    ) -> None:
        """Raises UserError where request, tokenizer, priors, prompt and scores do not fit together."""
        self.validate_numbers()
        config.require(self.mode in config.MODES, f"`mode`={self.mode}: must be one of {', '.join(config.MODES)}")
        for name in priors:
            layout.stream(name)
        sampled = sampled_tiers(layout, self.mode, priors)
        config.require(bool(sampled), f"`mode`={self.mode} samples no tier of {', '.join(priors)}: pass finer priors")
        for prior in priors.values():
            for genre in self.genres or ("",):
                prior.require_told(trained.Words(genre, self.artist, self.lyrics), self.told_seconds(prior))
            prior.require_tokenizer(layout)
        heard = not self.lyrics or any(prior.hears_lyrics for prior in priors.values())
        config.require(heard, "`lyrics`: none of these priors hears lyrics; leave them out")
        for index, name in enumerate(sampled):
            above = layout.stream(name).above
            there = not above or above in sampled or (self.mode == "upsample" and index == 0)
            config.require(there, f"`{name}` needs `{above}`: codes come from the tier above")
        for name in ("temperature", "top_p", "top_k", "guidance"):
            sampler_settings.require_sampled(name, getattr(self.settings, name), sampled)
        models = [priors[tier] for tier in sampled]
        self._validate_sampler(models)
        self._validate_guidance(models)
        self._validate_windows([model.config for model in models if model.sampler != "diffusion"])
        self._validate_prompt(layout, sampled, prompt)
        performed.validate(models, self.num_samples, scores)

    def _validate_sampler(self, models: list[trained.TrainedPrior]) -> None:
        known = ", ".join(config.SAMPLERS)
        config.require(self.sampler in config.SAMPLERS, f"`sampler`={self.sampler}: must be one of {known}")
        diffusion = [model for model in models if model.sampler == "diffusion"]
        if self.sampler == "autoregressive":
            tiers = ", ".join(f"`{model.config.tier}`" for model in diffusion)
            config.require(not tiers, f"{tiers}: a diffusion model; pass `sampler`=diffusion, or an autoregressive one")
            config.require(self.steps is None, f"`steps`={self.steps} goes with `sampler`=diffusion")
            return
        config.require(bool(diffusion), "`sampler`=diffusion: none of the models sampled is a diffusion model")
        for model in diffusion:
            steps, context = self.num_steps(model.distilled_steps), model.config.context
            config.require(1 <= steps <= context, f"`steps`={steps}: must be from 1 to the {context} codes of a window")

    def _validate_guidance(self, models: list[trained.TrainedPrior]) -> None:
        for model in models:
            tier, guidance = model.config.tier, self.settings.of("guidance", model.config.tier)
            if model.sampler == "diffusion":
                possible, rule = False, f"the diffusion model of the {tier} tier has none; use 1"
            else:
                possible = model.config.label_dropout > 0
                rule = f"the {tier} prior was never trained without labels, which guidance compares with; use 1, or "
                rule += "train it with --config.model.label_dropout=0.1"
            config.require(guidance == 1 or possible, f"`guidance`={guidance}: {rule}")

    def _validate_windows(self, models: list[config.PriorConfig]) -> None:
        """What only code after code has; `models` are those of the tiers that are sampled so."""
        sampler_settings.require_sampled("hop_fraction", self.hop_fraction, [model.tier for model in models])
        rule = "changes nothing where diffusion models sample: leave it out"
        config.require(bool(models) or self.cache_dtype == "compute", f"`cache_dtype`={self.cache_dtype} {rule}")
        exact = [model.tier for model in models if not model.int8_cache]
        rule = f"the models of {', '.join(exact)} keep what they remember as it is computed: leave it out"
        config.require(not exact or self.cache_dtype == "compute", f"`cache_dtype`={self.cache_dtype}: {rule}")
        if not self.parallel_windows:
            return
        upsamplers = [model.tier for model in models if model.upsampling]
        rule = "`parallel_windows` needs a middle or bottom prior that samples code after code: leave it out"
        config.require(bool(upsamplers), rule)
        size, hop = self.num_together(True), min(self.hop_fraction_of(tier) for tier in upsamplers)
        least = (int(1 / hop) + 1) * self.num_samples
        rule = f"`batch_size`={least} or more, or leave out `parallel_windows`"
        config.require(
            size // self.num_samples * hop > 1,
            f"`parallel_windows`: {size} windows at a time, for {self.num_samples} samples that move on by {hop:g} "
            f"contexts, take as long as one after the other: pass {rule}",
        )

    def validate_numbers(self) -> None:
        inside = 0 < self.seconds <= MAX_SECONDS
        config.require(inside, f"`seconds`={self.seconds}: must be greater than 0, and at most {MAX_SECONDS}")
        inside = 0 < self.num_samples <= MAX_NUMBER
        config.require(inside, f"`num_samples`={self.num_samples}: must be at least 1, and at most {MAX_NUMBER}")
        # jax.random.key takes the lower 32 bits of a seed: others would give the samples of some other seed.
        config.require(0 <= self.seed < 2**32, f"`seed`={self.seed}: must be from 0 to {2**32 - 1}")
        inside = self.batch_size is None or 0 < self.batch_size <= MAX_NUMBER
        config.require(inside, f"`batch_size`={self.batch_size}: must be at least 1, and at most {MAX_NUMBER}")
        config.require(
            self.total_seconds == 0 or self.seconds <= self.total_seconds <= MAX_SECONDS,
            f"`total_seconds`={self.total_seconds}: must be 0 or at least `seconds`={self.seconds}, and at most "
            f"{MAX_SECONDS}",
        )
        for hop_fraction in sampler_settings.values(self.hop_fraction):
            sampler_settings.require_number("hop_fraction", hop_fraction)
            config.require(0 < hop_fraction <= 1, f"`hop_fraction`={hop_fraction}: must be in (0, 1]")
        dtypes = ", ".join(config.CACHE_DTYPES)
        config.require(self.cache_dtype in config.CACHE_DTYPES, f"`cache_dtype`={self.cache_dtype}: one of {dtypes}")
        self.settings.validate()

    def _validate_prompt(self, layout: Layout, sampled: list[str], prompt: prompts.Prompt | None) -> None:
        if self.mode == "ancestral":
            others = ", ".join(config.MODES[1:])
            config.require(prompt is None, f"`mode`=ancestral starts from nothing; `prompt` goes with `mode`={others}")
            return
        config.require(prompt is not None, f"`mode`={self.mode} needs `prompt`: a recording or codes to start from")
        given = self.given_tiers(layout, sampled)
        missing = ", ".join(tier for tier in given if tier not in prompt.codes)
        primed = f", or `mode`=primed, which takes the {given[0]} tier alone" if len(given) > 1 else ""
        remedy = f"pass the recording itself{primed}"
        there = ", ".join(prompt.codes)
        rule = f"`mode`={self.mode} needs {missing}"
        config.require(not missing, f"{prompt.name} has codes of {there} only; {rule}: {remedy}")
        pieces, known, _ = prompt.codes[given[0]].shape
        config.require(
            self.num_samples >= pieces,
            f"`num_samples`={self.num_samples}: {prompt.name} holds {pieces} pieces: pass as many or more; one piece "
            "of two channels is [S, 2]",
        )
        wanted = self.num_frames(layout, given[0])
        length = f"{prompt.name} has {prompt.seconds:g} s, and `seconds`={self.seconds:g}"
        if self.mode == "upsample":
            config.require(known >= wanted, f"{length}: pass fewer seconds or a longer prompt")
        else:
            config.require(
                known < wanted, f"{length}, prompt included, leaves nothing to sample: pass more, or a shorter prompt"
            )


def sampled_tiers(layout: Layout, mode: str, priors: Mapping[str, trained.TrainedPrior]) -> list[str]:
    """Streams whose codes are drawn, coarse to fine: those with a prior; with mode upsample, those below another."""
    return [one.name for one in layout.streams if one.name in priors and (mode != "upsample" or one.above)]
