"""A request for samples: all options, and whether they fit the tokenizer, the priors and the prompt."""

import dataclasses
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes.layout import Layout
from musicgen_jax.priors import trained
from musicgen_jax.sampling import options, performed, prompts, sampler_settings
from musicgen_jax.training import rng

DEFAULT_STEPS = 8
DEFAULT_BATCH_SIZE, DEFAULT_PARALLEL_BATCH_SIZE = 8, 32  # windows at a time; of those that run side by side, a device

_Fields = dataclasses.make_dataclass(
    "_Fields",
    [
        *options.fields(),
        (
            "settings",
            sampler_settings.SamplingSettings,
            dataclasses.field(default_factory=sampler_settings.SamplingSettings),
        ),
    ],
    frozen=True,
)


class Request(_Fields):
    """All that decides which music is made, besides the prompt and the models.

    A field for every entry of `options.OPTIONS`, which says what it is: `seconds`, `seed`, `mode` and so on, `genres`
    those of the option genre; in `settings` those that say how codes are drawn.
    """

    def genre_of(self, sample: int) -> str:
        """Genre of sample number `sample`, "" for unknown."""
        return self.genres[sample % len(self.genres)] if self.genres else ""

    def hop_fraction_of(self, tier: str) -> float:
        """How far the windows of a stream move on, as a share of its context."""
        return options.of_stream(self.hop_fraction, tier, Request().hop_fraction)

    def seed_of(self, sample: int) -> int:
        """Seed of sample number `sample`."""
        return self.seeds[sample % len(self.seeds)] if self.seeds else self.seed

    def keys(self, purpose: str) -> jax.Array:
        """What a `purpose` draws its random numbers with, by sample: keys [N].

        Of `seeds`, each sample's is that of the first sample of its seed.
        """
        numbers = np.arange(self.num_samples)
        if not self.seeds:
            return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(rng.key(self.seed, purpose), numbers)
        keys = jax.numpy.stack([rng.key(self.seed_of(sample), purpose) for sample in numbers])
        return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 0)

    def reseeded(self, attempt: int) -> "Request":
        """The same with other seeds, those of an attempt."""

        def other(seed: int) -> int:
            return int(np.random.default_rng([seed, attempt]).integers(config.MAX_SEED))

        return dataclasses.replace(self, seed=other(self.seed), seeds=tuple(map(other, self.seeds)))

    def num_steps(self, distilled_steps: int) -> int:
        """Parallel steps for a window of a diffusion model that was distilled for `distilled_steps`; 0: for any."""
        return (distilled_steps or DEFAULT_STEPS) if self.steps is None else self.steps

    def num_together(self, parallel: bool, num_devices: int = 1) -> int:
        """Windows decoded together: `parallel` ones do not wait for each other, and are spread over the devices."""
        if self.batch_size is not None:
            return self.batch_size
        return DEFAULT_PARALLEL_BATCH_SIZE * num_devices if parallel else DEFAULT_BATCH_SIZE

    def labels_of(self, sample: int) -> dict[str, str]:
        """Label -> value of sample number `sample`, without those that nothing is said of."""
        others = {name: values[sample % len(values)] for name, values in self.labels}
        labels = {"genre": self.genre_of(sample), "artist": self.artist} | others
        return {name: value for name, value in labels.items() if value}

    def words_of(self, sample: int) -> trained.Words:
        """Labels and lyrics of sample number `sample`, as priors are told them."""
        text = self.texts[sample % len(self.texts)] if self.texts else ""
        return trained.Words(
            self.labels_of(sample), self.lyrics, self.total_seconds or self.seconds, text=text, beside=self.texts
        )

    def all_words(self) -> list[trained.Words]:
        """The words of so many samples that every value of every label is among them."""
        turns = max(1, len(self.genres), len(self.texts), *(len(values) for _, values in self.labels))
        return [self.words_of(sample) for sample in range(turns)]

    def told_of(self, sample: int) -> dict[str, Any]:
        """What samples.json says of the labels of sample number `sample`."""
        told = {"genre": self.genre_of(sample)} | ({"text": self.words_of(sample).text} if self.texts else {})
        return told | ({"labels": self.labels_of(sample)} if self.labels else {})

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
        scores: performed.Performable | None = None,
    ) -> None:
        """Raises UserError where request, tokenizer, priors, prompt and scores do not fit together."""
        self.validate_values()
        for name in priors:
            layout.stream(name)
        sampled = sampled_tiers(layout, self.mode, priors)
        config.require(bool(sampled), f"`mode`={self.mode} samples no tier of {', '.join(priors)}: pass finer priors")
        for prior in priors.values():
            prior.require_tokenizer(layout)
        models = [priors[tier] for tier in sampled]
        self._validate_words(models)
        for index, name in enumerate(sampled):
            above = layout.stream(name).above
            there = not above or above in sampled or (self.mode == "upsample" and index == 0)
            config.require(there, f"`{name}` needs `{above}`: codes come from the tier above")
        for field in dataclasses.fields(self.settings):
            sampler_settings.require_sampled(field.name, getattr(self.settings, field.name), sampled)
        self._validate_sampler(models)
        for model in models:
            model.require_guidance(self.settings.of("guidance", model.config.tier), self.guide_by)
        self._validate_windows([model.config for model in models if model.windowed])
        self._validate_prompt(layout, sampled, prompt)
        performed.validate(models, self.num_samples, scores)

    def notes(self, models: Iterable[trained.TrainedPrior]) -> list[str]:
        """What a person should know of a valid request: the labels that a model which is sampled takes for unknown."""
        found = {}
        for model in models:
            for words in self.all_words():
                for label in model.foreign(words):
                    name = words.labels[label]
                    found[f"the {model.config.tier} prior has no {label} {name!r}, and is told none"] = None
        return list(found)

    def _validate_words(self, models: list[trained.TrainedPrior]) -> None:
        """Raises UserError for words that a sampled model must know, or that are `foreign` to all of them."""
        for words in self.all_words():
            for model in models:
                model.require_told(words, self.told_seconds(model))
            if set.intersection(*(set(model.foreign(words)) for model in models)):
                models[0].require_known(words)
        heard = not self.lyrics or any(model.hears_lyrics for model in models)
        config.require(heard, "`lyrics`: none of the priors that are sampled hears lyrics; leave them out")
        read = not self.texts or any(model.config.text and model.windowed for model in models)
        config.require(read, "`text`: none of the priors that are sampled reads text; leave it out")
        followed = self.melody is None or any(model.config.melody for model in models)
        config.require(followed, "`melody`: none of the priors that are sampled follows a melody; leave it out")

    def _validate_sampler(self, models: list[trained.TrainedPrior]) -> None:
        needed, order = sampler_of(models), config.SAMPLERS.index
        tiers = ", ".join(f"`{model.config.tier}`" for model in models if model.sampler == needed)
        rule = f"a {needed} model; pass `sampler`={needed}, or an {self.sampler} one"
        config.require(order(self.sampler) >= order(needed), f"{tiers}: {rule}")
        rule = f"none of the models sampled is a {self.sampler} model"
        config.require(order(self.sampler) <= order(needed), f"`sampler`={self.sampler}: {rule}")
        stepped = [model for model in models if not model.windowed]
        config.require(self.steps is None or bool(stepped), f"`steps`={self.steps} goes with `sampler`=diffusion")
        for model in stepped:
            steps, context = self.num_steps(model.distilled_steps), model.config.context
            config.require(1 <= steps <= context, f"`steps`={steps}: must be from 1 to the {context} codes of a window")

    def _validate_windows(self, models: list[config.PriorConfig]) -> None:
        """Checks the options that only sampling code after code has; `models` are those that are sampled so."""
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

    def validate_values(self) -> None:
        """Raises UserError for an option whose value is out of range, whatever the models are."""
        for option in options.OPTIONS:
            if option.field:
                option.require(operator.attrgetter(option.field)(self))
        config.require(
            self.total_seconds == 0 or self.seconds <= self.total_seconds <= options.MAX_SECONDS,
            f"`total_seconds`={self.total_seconds}: must be 0 or at least `seconds`={self.seconds}, and at most "
            f"{options.MAX_SECONDS}",
        )

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


def sampler_of(models: Sequence[trained.TrainedPrior]) -> str:
    """Which of `config.SAMPLERS` these models need: the last that any of them has."""
    return max((model.sampler for model in models), key=config.SAMPLERS.index, default=config.SAMPLERS[0])


def of_options(said: Mapping[str, Any]) -> Request:
    """The request that options make, by their names in `options.OPTIONS`; what is left out has its default."""
    held: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for name, value in said.items():
        group, _, field = options.find(name).field.rpartition(".")
        (settings if group else held)[field] = value
    return Request(settings=sampler_settings.SamplingSettings(**settings), **held)
