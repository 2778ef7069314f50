"""One call in Python: a composer's workdir -> scores."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from musicgen_jax import config, pretrained
from musicgen_jax.priors import trained
from musicgen_jax.runtime import files
from musicgen_jax.sampling import arguments, commissions, composing, options, prompts, requests, score_output
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

Path = str | os.PathLike[str]
DEFAULT_SECONDS = 20.0
OF_AUDIO = ("mode", "score", "parallel_windows", "sampler", "steps")  # options that a composer does not read


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
        return self.model.vocabularies.get("genre", ())

    def compose(
        self, seconds: float | None = None, *, num_samples: int | None = None, show_progress: bool = False, **said: Any
    ) -> Score | list[Score]:
        """Composes.

        Args:
          seconds: length, a prompt included; by default 20.
          num_samples: how many, composed together; None is one.
          show_progress: a bar with the time left, on stderr.
          **said: other options of `sampling.options`, but for those of audio: seed, genre, artist, temperature, top_p,
            top_k, guidance, guide_by, hop_fraction, total_seconds, batch_size, cache_dtype; form, the sections of the
            music and which of them return, of a composer of a grid; lyrics, whose syllables the melody is to have notes
            for, of a composer that was trained with lyrics; and prompt, how the music begins: a MIDI file, or a score.
            Equal ones give equal music.

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
        return requests.of_options(said), None if prompt is None else _continued(prompt), timbre

    def commission(self, said: dict[str, Any], prime: Score | None, silence: float) -> commissions.Commission:
        """The scores that priors perform.

        Args:
          said: checked options for composer and priors together. What they say of the composer's stream alone is
            removed from them.
          prime: how each score begins.
          silence: seconds before they begin.
        """
        asked = requests.of_options(self._share(said))
        asked = dataclasses.replace(
            asked, seconds=asked.seconds - silence, total_seconds=max(asked.total_seconds - silence, 0.0)
        )
        name = f"what the composer in {self.workdir} writes"
        return commissions.Commission(name, self.model, asked, prime, silence)

    def _share(self, said: dict[str, Any]) -> dict[str, Any]:
        """Those options that the composer takes. Genres and artists that it does not know are unknown to it; it takes
        no cache of int8, which is meant for the priors, where its layers have none."""
        others = (
            *OF_AUDIO,
            "guidance",
            "guide_by",
            "timbre",
            *(() if self.model.hears_lyrics else ("lyrics",)),
            *(() if self.model.config.int8_cache else ("cache_dtype",)),
        )
        taken = {name: value for name, value in said.items() if name not in others}
        for name, value in list(taken.items()):
            if isinstance(value, Mapping):
                said[name] = {stream: one for stream, one in value.items() if stream != config.STREAM}
                taken[name] = value.get(config.STREAM)
        return {name: value for name, value in self._known(taken).items() if value is not None}

    def _known(self, taken: dict[str, Any]) -> dict[str, Any]:
        """The options with no label, and no value of one, that the composer does not know."""
        known = self.model.vocabularies
        others = {
            name: tuple(one if one in known[name] else config.UNKNOWN_LABEL for one in values)
            for name, values in taken.pop("labels", ())
            if name in known
        }
        genres = taken.pop("genre", ())
        if genres and "genre" in known:
            taken["genre"] = tuple(one if one in known["genre"] else config.UNKNOWN_LABEL for one in genres)
        if taken.get("artist") not in known.get("artist", ()):
            taken.pop("artist", None)
        return taken | ({"labels": tuple(others.items())} if others else {})


def load(workdir: Path) -> Composer:
    """The composer that train_prior wrote.

    Raises:
      NotFoundError: no such folder, or no complete checkpoint in it.
      UserError: the folder holds something else.
    """
    folder = os.fspath(files.local_path(workdir, "score"))
    return Composer(pretrained.load_composer(folder), folder)


def _continued(prompt: Path | Score) -> Score:
    written = prompts.score_of(prompt)
    known = ", ".join(midi.SUFFIXES)
    shown = prompt if isinstance(prompt, str | os.PathLike) else type(prompt).__name__
    config.require(written is not None, f"`prompt`={shown}: a composer goes on from a MIDI file ({known})")
    return written[1]
