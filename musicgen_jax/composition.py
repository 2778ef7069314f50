"""One call in Python: a composer's workdir -> scores."""

import os
from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

from musicgen_jax import config, pretrained
from musicgen_jax.priors import trained
from musicgen_jax.runtime import files, records
from musicgen_jax.sampling import arguments, composing, requests, sampler_settings, score_output
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

Path = str | os.PathLike[str]
DEFAULT_SECONDS = 20.0
SETTINGS = ("temperature", "top_p", "top_k", "guidance")


class Options(TypedDict, total=False):
    """What else may be said of a composition: see `requests.Request` and `sampler_settings.SamplingSettings`."""

    genre: str | Sequence[str] | None
    artist: str
    temperature: sampler_settings.ByTier
    top_p: sampler_settings.ByTier
    top_k: sampler_settings.ByTier
    guidance: sampler_settings.ByTier
    hop_fraction: sampler_settings.ByTier
    total_seconds: float
    batch_size: int | None
    cache_dtype: str


class Composer:
    """A trained composer, ready to write music.

    Attributes:
      model: its config and weights.
      workdir: where it comes from.
    """

    def __init__(self, model: trained.TrainedPrior, workdir: str):
        self.model, self.workdir = model, workdir

    @property
    def genres(self) -> tuple[str, ...]:
        """Names of the genres that it knows."""
        return self.model.genres

    def compose(
        self,
        seconds: float | None = None,
        *,
        prompt: Path | Score | None = None,
        seed: int = 0,
        num_samples: int | None = None,
        show_progress: bool = False,
        **options: Unpack[Options],
    ) -> Score | list[Score]:
        """Composes.

        Args:
          seconds: length, prompt included; by default 20.
          prompt: how the music begins: a MIDI file, or a score.
          seed: equal arguments give equal music.
          num_samples: how many, composed together; None is one.
          show_progress: a bar with the time left, on stderr.
          **options: see `Options`.

        Returns:
          A score, or a list of them where `num_samples` is given.

        Raises:
          NotFoundError: there is no such prompt.
          UserError: an argument is of the wrong type or out of range; the message says which.
        """
        request, prime = self.request(seconds, prompt, seed, num_samples, options)
        scores = composing.compose(self.model, request, prime, show_progress=show_progress).scores
        return list(scores) if num_samples is not None else scores[0]

    def write(
        self,
        out: Path,
        seconds: float | None = None,
        *,
        prompt: Path | Score | None = None,
        timbre: str = "",
        seed: int = 0,
        num_samples: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        """`compose` to a folder: NNN.mid, NNN.wav as the synthesizer plays it, codes.npz, samples.json.

        Args:
          timbre: of the synthesizer; "" takes that of a sample's genre, or the first. The others are those of
            `compose`, and so is what it raises; also UserError where the folder holds other things.
        """
        request, prime = self.request(seconds, prompt, seed, num_samples, options)
        score_output.compose_to_folder(self.model, request, files.local_path(out, "out"), self.workdir, prime, timbre)

    def request(
        self,
        seconds: float | None,
        prompt: Path | Score | None,
        seed: int,
        num_samples: int | None,
        options: Options | dict[str, Any],
    ) -> tuple[requests.Request, Score | None]:
        """The arguments of `compose` as what the sampler takes, checked."""
        known = list(Options.__annotations__)
        for name in options:
            near = records.nearest(name, known)
            config.require(name in known, f"{name}: no such option{near}; there are {', '.join(known)}")
        fields = arguments.checked(options)
        settings = {name: fields.pop(name) for name in SETTINGS if name in fields}
        prime = prompt if isinstance(prompt, Score | None) else midi.read(_midi_file(prompt), apply_sustain=True)
        request = requests.Request(
            seconds=DEFAULT_SECONDS if seconds is None else arguments.number("seconds", seconds),
            num_samples=1 if num_samples is None else arguments.whole("num_samples", num_samples),
            seed=arguments.whole("seed", seed),
            genres=fields.pop("genre", ()),
            settings=sampler_settings.SamplingSettings(**settings),
            **fields,
        )
        return request, prime


def load(workdir: Path) -> Composer:
    """The composer that train_prior wrote.

    Raises:
      NotFoundError: no such folder, or no complete checkpoint in it.
      UserError: the folder holds something else.
    """
    folder = os.fspath(files.local_path(workdir, "score"))
    return Composer(pretrained.load_composer(folder), folder)


def _midi_file(prompt: Path) -> Path:
    path = files.local_path(prompt, "prompt")
    known = ", ".join(midi.SUFFIXES)
    config.require(
        path.suffix.lower() in midi.SUFFIXES, f"`prompt`={path}: a composer goes on from a MIDI file ({known})"
    )
    return path
