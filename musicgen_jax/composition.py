"""One call in Python: a composer's workdir -> scores."""

import os
from collections.abc import Mapping
from typing import Any

from musicgen_jax import config, pretrained
from musicgen_jax.priors import trained
from musicgen_jax.runtime import files
from musicgen_jax.sampling import arguments, composing, options, requests, score_output
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

Path = str | os.PathLike[str]
DEFAULT_SECONDS = 20.0
OF_AUDIO = ("mode", "score", "lyrics", "parallel_windows", "sampler", "steps")  # options that a composer does not read


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
        self, seconds: float | None = None, *, num_samples: int | None = None, show_progress: bool = False, **said: Any
    ) -> Score | list[Score]:
        """Composes.

        Args:
          seconds: length, a prompt included; by default 20.
          num_samples: how many, composed together; None is one.
          show_progress: a bar with the time left, on stderr.
          **said: other options of `sampling.options`, but for those of audio: seed, genre, artist, temperature, top_p,
            top_k, guidance, guide_by, hop_fraction, total_seconds, batch_size, cache_dtype; and prompt, how the music
            begins: a MIDI file, or a score. Equal ones give equal music.

        Returns:
          A score, or a list of them where `num_samples` is given.

        Raises:
          NotFoundError: there is no such prompt.
          UserError: an argument is of the wrong type or out of range; the message says which.
        """
        request, prime, _ = self.request(seconds=seconds, num_samples=num_samples, **said)
        scores = composing.compose(self.model, request, prime, show_progress=show_progress).scores
        return list(scores) if num_samples is not None else scores[0]

    def write(self, out: Path, seconds: float | None = None, **said: Any) -> None:
        """`compose` to a folder: NNN.mid, NNN.wav as the synthesizer plays it, codes.npz, samples.json.

        Args:
          out: the folder.
          seconds: length of each.
          **said: as for `compose`; and `timbre` of the synthesizer, by default that of a sample's genre, or the first.

        Raises:
          NotFoundError: there is no such prompt.
          UserError: as `compose`, or the folder holds other things.
        """
        request, prime, timbre = self.request(seconds=seconds, **said)
        score_output.compose_to_folder(self.model, request, files.local_path(out, "out"), self.workdir, prime, timbre)

    def request(self, **said: Any) -> tuple[requests.Request, Score | None, str]:
        """Options of `compose` as what the sampler takes, checked: (the request, the prompt, the timbre)."""
        prompt = said.pop("prompt", None)
        said = arguments.checked(said)
        for name in OF_AUDIO:
            value = said.pop(name, None)
            rule = f"`{name}`={value}: a composer alone does not take it: leave it out"
            config.require(value in (None, options.find(name).default), rule)
        timbre = said.pop("timbre", "")
        said.setdefault("seconds", DEFAULT_SECONDS)
        if not said.get("guide_by"):
            said["guide_by"] = ("labels",)
        prime = prompt if isinstance(prompt, Score | None) else midi.read(_midi_file(prompt), apply_sustain=True)
        return requests.of_options(said), prime, timbre

    def share(self, said: dict[str, Any]) -> dict[str, Any]:
        """Of checked options for composer and priors together those that the composer takes. What they say of its
        stream alone is removed from them; genres and artists that it does not know are unknown to it."""
        others = (*OF_AUDIO, "guidance", "guide_by", "timbre")
        taken = {name: value for name, value in said.items() if name not in others}
        for name, value in list(taken.items()):
            if isinstance(value, Mapping):
                said[name] = {stream: one for stream, one in value.items() if stream != config.STREAM}
                taken[name] = value.get(config.STREAM)
        names = {"genre": self.model.config.genres, "artist": self.model.config.artists}
        if "genre" in taken:
            taken["genre"] = [one if one in names["genre"] else config.UNKNOWN_LABEL for one in taken["genre"]]
        if taken.get("artist") not in names["artist"]:
            taken.pop("artist", None)
        return {name: value for name, value in taken.items() if value is not None}


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
