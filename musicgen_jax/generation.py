"""One call in Python: a folder of trained models -> music."""

import dataclasses
import os
import pathlib
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from musicgen_jax import composition, config, pretrained
from musicgen_jax.priors import trained
from musicgen_jax.runtime import console, files
from musicgen_jax.runtime.errors import NotFoundError
from musicgen_jax.sampling import (
    arguments,
    commissions,
    composing,
    hierarchy,
    melodies,
    options,
    output,
    performed,
    prompts,
    requests,
    stream,
)
from musicgen_jax.scores.score import Score
from musicgen_jax.tokenizers import stereo
from musicgen_jax.tokenizers.tokenizer import Tokenizer

Path = str | os.PathLike[str]


class MusicGenerator:
    """A tokenizer and its priors, ready to make music.

    Attributes:
      tokenizer: audio <-> codes.
      priors: by stream.
      models: where they come from: "vqvae" and streams -> workdir.
      composer: writes what the priors perform, where there is one.
      text_encoder: workdir of what reads texts for the priors; "" where there is none.
      sample_rate: Hz of the audio.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        priors: Mapping[str, trained.TrainedPrior],
        models: dict[str, str],
        composer: composition.Composer | None = None,
        text_encoder: str = "",
    ):
        self.tokenizer, self.priors, self.models, self.composer = tokenizer, dict(priors), models, composer
        self.text_encoder, self._melodies = text_encoder, {}
        self.sample_rate: int = tokenizer.layout.sample_rate

    @property
    def genres(self) -> tuple[str, ...]:
        """Genres that all priors know."""
        return self.labels.get("genre", ())

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Label -> the values that all priors know; `genre` and `artist` are options of their own."""
        known = [prior.vocabularies for prior in self.priors.values()]
        shared = [name for name in known[0] if all(name in one for one in known)]
        return {name: tuple(v for v in known[0][name] if all(v in one[name] for one in known)) for name in shared}

    @options.documented
    def generate(
        self, seconds: float | None = None, *, num_samples: int | None = None, show_progress: bool = False, **said: Any
    ) -> np.ndarray:
        """Samples codes and decodes the finest stream.

        Args:
          seconds: of the result, prompt included, rounded up to a whole code of the coarsest stream; by default the
            score's length, or 8, or with mode "upsample" the prompt's own.
          num_samples: how many, made together; None is one, or one for each of several texts or seeds.
          show_progress: bars with the time left, on stderr.
          **said: the other options below. Equal ones give equal music. A prompt may be a recording, a file of codes,
            the codes.npz of former samples, a MIDI file that the synthesizer plays, or a waveform at `sample_rate`:
            floats [S], with two channels [S, 2], or [N, S] for several pieces; with one the mode is "continue" unless
            another is given. A score may be a MIDI or MusicXML file, a `Score`, several that the samples take by turns,
            or the workdir of a composer, which writes one for each sample; None and "" are no score. It is performed
            from the beginning on, a prompt included, by priors that were trained with scores. What a composer writes
            begins with the notes of a prompt that is a MIDI file or a `Score`, and where any other prompt ends. Where
            nothing is said of a score, the generator's own composer writes, if it has one, unless the music goes on
            from anything but notes.

        Returns:
          float32 [S], or [num_samples, S] where `num_samples`, several texts or several seeds are given; of priors of
          two channels [S, 2] and [num_samples, S, 2].

        Raises:
          NotFoundError: there is no such prompt.
          UserError: an argument is of the wrong type or out of range, or they do not fit each other or the models;
            the message says which. Numbers may be NumPy's or JAX's, sequences lists, tuples or arrays.
        """
        num_samples = _number(num_samples, said)
        asked = self.request(seconds=seconds, num_samples=num_samples, **said)
        sampler = self._hierarchy(*asked, show_progress)
        codes, tier = sampler.complete(), sampler.finest
        audio = [self.tokenizer.decode(row, tier) for row in codes[tier]]
        return np.stack(audio) if num_samples is not None else audio[0]

    def compose(self, seconds: float | None = None, **said: Any) -> Score | list[Score]:
        """A new score by the generator's composer; see `composition.Composer.compose`.

        Raises:
          NotFoundError: it has none.
          UserError: as there.
        """
        if self.composer is None:
            raise NotFoundError("there is no composer: load one with the models, score=DIR, or composition.load(DIR)")
        return self.composer.compose(seconds, **said)

    def perform(
        self, score: Path | Score | Sequence[Score], seconds: float | None = None, **options: Any
    ) -> np.ndarray:
        """`generate(seconds, score=score, **options)`: the audio of a score, by default as long as it."""
        return self.generate(seconds, score=score, **options)

    def stream(
        self, seconds: float | None = None, *, num_samples: int | None = None, show_progress: bool = False, **said: Any
    ) -> Iterator[np.ndarray]:
        """What `generate` returns in consecutive blocks [S] or [N, S], each as soon as its codes are sampled.

        Arguments and errors are those of `generate`; errors come with the call, not with the first block.
        """
        num_samples = _number(num_samples, said)
        asked = self.request(seconds=seconds, num_samples=num_samples, **said)
        blocks = stream.stream(self.tokenizer, self._hierarchy(*asked, show_progress))
        return blocks if num_samples is not None else (block[0] for block in blocks)

    def write(self, out: Path, seconds: float | None = None, **said: Any) -> None:
        """`generate` to a folder: NNN.wav, of a score NNN.mid, codes.npz, samples.json.

        Called again, it goes on where it was interrupted.

        Args:
          out: the folder.
          seconds: as of `generate`.
          **said: likewise, `num_samples` among them.

        Raises:
          NotFoundError: there is no such prompt.
          UserError: as `generate`, or the folder holds the samples of another call or other things.
        """
        folder = output.own_folder(out)
        request, start, scores = self.request(seconds=seconds, **said)
        priors = self._priors_for(request)
        output.sample_to_folder(self.tokenizer, priors, request, os.fspath(folder), self.models, start, scores)

    def request(self, **said: Any) -> tuple[requests.Request, prompts.Prompt | None, performed.Performable | None]:
        """Options of `generate` as what the samplers take, checked; raises as it."""
        silent = "score" in said and isinstance(said["score"], str | None) and not said["score"]
        said = arguments.checked(said)
        score, source, melody = (said.pop(name, None) for name in ("score", "prompt", "melody"))
        timbre = said.pop("timbre", "") or next(iter(said.get("genre", ())), "")
        composer = None if silent else self._composer_for(score, source, said.get("mode"))
        start, prime = self._start(source, composer, timbre)
        said.setdefault("mode", "ancestral" if start is None else "continue")
        sampled = requests.sampled_tiers(self.tokenizer.layout, said["mode"], self.priors)
        models = [self.priors[tier] for tier in sampled]
        said.setdefault("sampler", requests.sampler_of(models))
        scores: performed.Performable | None = None
        rule = "there is no composer who writes: pass `score`=DIR, the workdir of one, or leave it out"
        config.require(composer is not None or not said.get("form"), f"`form`={said.get('form')}: {rule}")
        if composer is not None:
            scores = composer.commission(said, prime, start.seconds if start is not None and prime is None else 0.0)
            if composer.model.hears_lyrics and not any(model.hears_lyrics for model in models):
                said.pop("lyrics", None)  # the melody is for them, and nobody sings
        elif not silent and score is not None:
            scores = performed.load(score)
        given = ["score"] if scores is not None else []
        heard = said.get("lyrics") and any(model.config.dropout_of("lyrics") for model in models)
        given += ["lyrics"] if heard else []
        given += ["text"] if said.get("text") or melody is not None else []
        if given:
            said.setdefault("guide_by", tuple(given))
        if melody is not None:
            followed = melodies.load(melody, self.sample_rate)
            self._melodies[followed.digest] = followed.classes
            said["melody"] = followed.digest
        self._add_usual(said, models, said["guide_by"] if given else ())
        if said.get("text") and any(model.config.text for model in models):
            self._read_texts()
        if start is not None and said["mode"] == "upsample":
            said.setdefault("seconds", start.seconds)
        elif isinstance(scores, performed.Scores):
            said.setdefault("seconds", scores.seconds)
        request = requests.of_options(said)
        request.validate(self.tokenizer.layout, self.priors, start, scores)
        if isinstance(scores, commissions.Commission):
            scores.validate()
        for note in request.notes(models):
            console.say(f"note: {note}")
        return request, start, scores

    def _add_usual(self, said: dict[str, Any], models: Sequence[trained.TrainedPrior], guide_by: Sequence[str]) -> None:
        """Adds the options that suit these models where nothing is said of them; guidance of those that know to do
        without what guides."""
        for name in dict.fromkeys(name for model in models for name in model.usual_options):
            own = {model.config.tier: model.usual_options[name] for model in models if name in model.usual_options}
            if name == "guidance":
                free = [m.config.tier for m in models if guide_by and all(m.config.dropout_of(one) for one in guide_by)]
                own = {tier: value for tier, value in own.items() if tier in free}
            if own:
                said.setdefault(name, own)

    def _read_texts(self) -> None:
        """Gives the priors what encodes texts, which is loaded when the first text is said."""
        reading = {name: prior for name, prior in self.priors.items() if prior.config.text}
        if all(prior.text_encoder is not None for prior in reading.values()):
            return
        if not self.text_encoder:
            raise NotFoundError(
                "`text`: there is no text encoder: pass `text_encoder`, or convert the one that the prior was trained "
                "with (--source=t5) to a folder beside the models"
            )
        encoder = pretrained.load_text_encoder(self.text_encoder)
        self.priors |= {name: prior.with_text_encoder(encoder) for name, prior in reading.items()}

    def _composer_for(self, score: Any, source: Any, mode: str | None) -> composition.Composer | None:
        """Who writes what is performed: the composer that is named, or the generator's own where nothing is named."""
        if isinstance(score, str | os.PathLike) and files.local_path(score, "score").is_dir():
            rule = "with `mode`=upsample all notes are there already: leave it out, or pass their MIDI file"
            config.require(mode != "upsample", f"`score`={score}: {rule}")
            return composition.load(score)
        told = any(prior.config.score for prior in self.priors.values())
        if score is not None or not told or mode == "upsample" or self.composer is None:
            return None
        return self.composer if source is None or prompts.score_of(source) is not None else None

    def _start(
        self, source: Any, composer: composition.Composer | None, timbre: str
    ) -> tuple[prompts.Prompt | None, Score | None]:
        """The prompt, and its score where a composer goes on from it: then these very notes are heard."""
        written = None if composer is None or source is None else prompts.score_of(source)
        if written is not None:
            name, prime = written
            return prompts.played(name, composing.begun(composer.model, prime), self.tokenizer, timbre), prime
        return None if source is None else prompts.load(source, self.tokenizer, timbre), None

    def _hierarchy(
        self,
        request: requests.Request,
        start: prompts.Prompt | None,
        scores: performed.Performable | None,
        show_progress: bool,
    ) -> hierarchy.Hierarchy:
        priors, layout = self._priors_for(request), self.tokenizer.layout
        written = commissions.fulfilled(scores, show_progress=show_progress)
        return hierarchy.Hierarchy(layout, priors, request, start, scores=written, show_progress=show_progress)

    def _priors_for(self, request: requests.Request) -> dict[str, trained.TrainedPrior]:
        """The priors; of distilled ones those for as many steps as are asked for."""
        found = dict(self.priors)
        for tier, prior in self.priors.items():
            if not prior.fits_steps(request.steps):
                found[tier] = pretrained.load_diffusion(self.models[tier], tier, request.steps)
            elif prior.config.melody:
                found[tier] = dataclasses.replace(prior, melody=self._melodies.get(request.melody))
        return found


def load(directory: Path | None = None, **workdirs: Path) -> MusicGenerator:
    """Models from their workdirs: those that `directory` holds, or those that are named.

    Args:
      directory: with the workdirs of a tokenizer and of priors as folders in it. Of several for one stream, the one
        counts that has the stream's name; that of the tokenizer is vqvae.
      **workdirs: vqvae (or tokenizer), streams such as top, and text_encoder: folders instead of those, or beside them;
        "" leaves one out.

    Raises:
      NotFoundError: no such folder, no tokenizer, or no prior.
      UserError: a folder holds something else.
    """
    encoder = _text_encoder(directory, workdirs.pop("text_encoder", None))
    tokenizer, models, composer = _find(directory, workdirs)
    names = [name for name in models if name != "vqvae"]
    if not names:
        raise NotFoundError(f"{directory or 'the arguments'}: a tokenizer (vqvae) and a prior are needed")
    priors = {name: pretrained.load_code_model(models[name], name) for name in names}
    if any(prior.config.pattern == "stereo_delay" for prior in priors.values()):
        tokenizer = stereo.StereoTokenizer(tokenizer)
    return MusicGenerator(tokenizer, priors, models, composition.load(composer) if composer else None, encoder)


def find(directory: Path | None = None, **workdirs: Path) -> tuple[Tokenizer, dict[str, str]]:
    """(the tokenizer, "vqvae" and streams -> workdir, coarse to fine); arguments and errors as of `load`."""
    return _find(directory, workdirs)[:2]


def find_composer(directory: Path, **workdirs: Path) -> str:
    """Workdir of the composer that `load` finds with these arguments, or ""."""
    return (_workdirs_in(files.local_path(directory, "directory"), workdirs) | workdirs).get(config.STREAM, "")


def _find(directory: Path | None, workdirs: Mapping[str, Path]) -> tuple[Tokenizer, dict[str, str], str]:
    """What `find` returns, and the workdir of a composer, or ""."""
    given = {"vqvae" if name == "tokenizer" else name: _path(name, path) for name, path in workdirs.items()}
    root = None if directory is None else files.local_path(directory, "directory")
    models = ({} if root is None else _workdirs_in(root, given)) | given
    if not models.get("vqvae"):
        raise NotFoundError(f"{directory or 'the arguments'}: a tokenizer (vqvae) and a prior are needed")
    tokenizer = pretrained.load_vqvae(models["vqvae"])
    names = ("vqvae", *tokenizer.layout.names)
    composer = models.pop(config.STREAM, "")
    unknown = ", ".join(sorted(set(given) - {*names, config.STREAM}))
    config.require(not unknown, f"{unknown}: no such model; a folder of models holds {', '.join(names)}")
    return tokenizer, {name: models[name] for name in names if models.get(name)}, composer


def _number(num_samples: int | None, said: Mapping[str, Any]) -> int | None:
    """How many samples where nothing is said: one, or one for each of several texts or seeds."""
    lists = [one for one in (said.get("text"), said.get("seeds")) if isinstance(one, list | tuple | np.ndarray)]
    number = max(map(len, lists), default=0)
    return number if num_samples is None and number > 1 else num_samples


def _text_encoder(directory: Path | None, given: Path | None) -> str:
    """Workdir of the text encoder that is given, or that lies in a folder of models; "" where there is none."""
    if given is not None or directory is None:
        return _path("text_encoder", given)
    root = files.local_path(directory, "directory")
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    found = [folder for folder in folders if pretrained.is_text_encoder(folder)]
    listing = ", ".join(folder.name for folder in found)
    config.require(len(found) <= 1, f"{root} holds several text encoders ({listing}): pass one as `text_encoder`")
    return os.fspath(found[0]) if found else ""


def _path(name: str, path: Path | None) -> str:
    """A local path; "" for what is left out."""
    absent = path is None or (isinstance(path, str) and not path)
    return "" if absent else os.fspath(files.local_path(path, name))


def _workdirs_in(root: pathlib.Path, given: Container[str]) -> dict[str, str]:
    """Name of a model -> its workdir among the folders in `root`, but for those that are given; "vqvae" names a
    tokenizer."""
    if not root.is_dir():
        raise NotFoundError(f"no such folder: {root}; pass one that holds vqvae, top and the like")
    found: dict[str, list[pathlib.Path]] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        name = pretrained.name_of_model(folder)
        if name and name not in given:
            found.setdefault(name, []).append(folder)
    chosen = {}
    for name, folders in found.items():
        own = [folder for folder in folders if folder.name == name] or folders
        listing = ", ".join(folder.name for folder in own)
        config.require(len(own) == 1, f"{root} holds several models of {name} ({listing}): name the one that is meant")
        chosen[name] = os.fspath(own[0])
    return chosen
