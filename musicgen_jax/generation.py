"""One call in Python: a folder of trained models -> music."""

import os
import pathlib
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import numpy as np

from musicgen_jax import config, pretrained
from musicgen_jax.priors import trained
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.errors import NotFoundError
from musicgen_jax.sampling import arguments, hierarchy, output, performed, prompts, requests, sampler_settings, stream
from musicgen_jax.scores.score import Score
from musicgen_jax.tokenizers.tokenizer import Tokenizer

Path = str | os.PathLike[str]
SETTINGS = ("temperature", "top_p", "top_k", "guidance")


class Options(TypedDict, total=False):
    """What else may be said of the music: see `requests.Request` and `sampler_settings.SamplingSettings`."""

    genre: str | Sequence[str] | None
    artist: str
    lyrics: str
    mode: str
    temperature: sampler_settings.ByTier
    top_p: sampler_settings.ByTier
    top_k: sampler_settings.ByTier
    guidance: sampler_settings.ByTier
    hop_fraction: sampler_settings.ByTier
    total_seconds: float
    batch_size: int | None
    parallel_windows: bool
    cache_dtype: str
    sampler: str
    steps: int


class MusicGenerator:
    """A tokenizer and its priors, ready to make music.

    Attributes:
      tokenizer: the VQ-VAE.
      priors: by tier.
      models: where they come from: "vqvae" and tiers -> workdir.
      sample_rate: Hz of the audio.
    """

    def __init__(self, tokenizer: Tokenizer, priors: Mapping[str, trained.TrainedPrior], models: dict[str, str]):
        self.tokenizer, self.priors, self.models = tokenizer, dict(priors), models
        self.sample_rate: int = tokenizer.layout.sample_rate

    @property
    def genres(self) -> tuple[str, ...]:
        """Genres that all priors know."""
        known = [prior.genres for prior in self.priors.values()]
        return tuple(name for name in known[0] if all(name in names for names in known))

    def generate(
        self,
        seconds: float | None = None,
        *,
        prompt: Path | np.ndarray | None = None,
        score: Path | Score | Sequence[Score] | None = None,
        seed: int = 0,
        num_samples: int | None = None,
        show_progress: bool = False,
        **options: Unpack[Options],
    ) -> np.ndarray:
        """Samples codes and decodes the finest tier.

        Args:
          seconds: of the result, prompt included, rounded up to a whole code of the top tier; by default the score's
            length, or 8, or with mode "upsample" the prompt's own.
          prompt: a recording, a file of codes, the codes.npz of former samples, a MIDI file that the synthesizer plays,
            or a waveform at `sample_rate`: floats [S], with two channels [S, 2], or [N, S] for several pieces.
          score: what is performed, from the beginning on, a prompt included, by priors that were trained with scores:
            a MIDI or MusicXML file, a score, or several that the samples take by turns.
          seed: equal arguments give equal music.
          num_samples: how many, made together; None is one.
          show_progress: bars with the time left, on stderr.
          **options: see `Options`. With a prompt the mode is "continue" unless another is given.

        Returns:
          float32 [S], or [num_samples, S] where `num_samples` is given.

        Raises:
          NotFoundError: there is no such prompt.
          UserError: an argument is of the wrong type or out of range, or they do not fit each other or the models;
            the message says which. Numbers may be NumPy's or JAX's, sequences lists, tuples or arrays.
        """
        sampler = self._hierarchy(*self.request(seconds, prompt, seed, num_samples, options, score), show_progress)
        codes, tier = sampler.complete(), sampler.finest
        audio = [self.tokenizer.decode(row, tier) for row in codes[tier]]
        return np.stack(audio) if num_samples is not None else audio[0]

    def perform(
        self, score: Path | Score | Sequence[Score], seconds: float | None = None, **options: Any
    ) -> np.ndarray:
        """`generate(seconds, score=score, **options)`: the audio of a score, by default as long as it."""
        return self.generate(seconds, score=score, **options)

    def stream(
        self,
        seconds: float | None = None,
        *,
        prompt: Path | np.ndarray | None = None,
        score: Path | Score | Sequence[Score] | None = None,
        seed: int = 0,
        num_samples: int | None = None,
        show_progress: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[np.ndarray]:
        """What `generate` returns in consecutive blocks [S] or [N, S], each as soon as its codes are sampled.

        Errors come with the call, not with the first block.
        """
        sampler = self._hierarchy(*self.request(seconds, prompt, seed, num_samples, options, score), show_progress)
        blocks = stream.stream(self.tokenizer, sampler)
        return blocks if num_samples is not None else (block[0] for block in blocks)

    def write(
        self,
        out: Path,
        seconds: float | None = None,
        *,
        prompt: Path | np.ndarray | None = None,
        score: Path | Score | Sequence[Score] | None = None,
        seed: int = 0,
        num_samples: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        """`generate` to a folder: NNN.wav, of a score NNN.mid, codes.npz, samples.json.

        Called again, it goes on where it was interrupted.

        Raises:
          NotFoundError: there is no such prompt.
          UserError: as `generate`, or the folder holds the samples of another call or other things.
        """
        folder = output.own_folder(out, "out")
        request, start, scores = self.request(seconds, prompt, seed, num_samples, options, score)
        priors = self._priors_for(request)
        output.sample_to_folder(self.tokenizer, priors, request, os.fspath(folder), self.models, start, scores)

    def request(
        self,
        seconds: float | None,
        prompt: Path | np.ndarray | None,
        seed: int,
        num_samples: int | None,
        options: Options,
        score: Path | Score | Sequence[Score] | None = None,
    ) -> tuple[requests.Request, prompts.Prompt | None, performed.Scores | None]:
        """The arguments of `generate` as what the samplers take, checked."""
        known = list(Options.__annotations__)
        for name in options:
            near = records.nearest(name, known)
            config.require(name in known, f"{name}: no such option{near}; there are {', '.join(known)}")
        fields = arguments.checked(options)
        seconds = None if seconds is None else arguments.number("seconds", seconds)
        seed = arguments.whole("seed", seed)
        num_samples = 1 if num_samples is None else arguments.whole("num_samples", num_samples)
        scores = None if score is None else performed.load(score)
        timbre = next(iter(fields.get("genre", ())), "")
        start = None if prompt is None else prompts.load(prompt, self.tokenizer, timbre)
        fields.setdefault("mode", "ancestral" if start is None else "continue")
        sampled = requests.sampled_tiers(self.tokenizer.layout, fields["mode"], self.priors)
        if any(self.priors[tier].sampler == "diffusion" for tier in sampled):
            fields.setdefault("sampler", "diffusion")
        if seconds is None:
            upsample = start is not None and fields["mode"] == "upsample"
            usual = requests.DEFAULT_SECONDS if scores is None else scores.seconds
            seconds = start.seconds if upsample else usual
        fields["genres"] = fields.pop("genre", ())
        fields["settings"] = sampler_settings.SamplingSettings(
            **{name: fields.pop(name) for name in SETTINGS if name in fields}
        )
        request = requests.Request(seconds=seconds, num_samples=num_samples, seed=seed, **fields)
        request.validate(self.tokenizer.layout, self.priors, start, scores)
        return request, start, scores

    def _hierarchy(
        self,
        request: requests.Request,
        start: prompts.Prompt | None,
        scores: performed.Scores | None,
        show_progress: bool,
    ) -> hierarchy.Hierarchy:
        priors, layout = self._priors_for(request), self.tokenizer.layout
        return hierarchy.Hierarchy(layout, priors, request, start, scores=scores, show_progress=show_progress)

    def _priors_for(self, request: requests.Request) -> dict[str, trained.TrainedPrior]:
        """The priors; of distilled ones those for as many steps as are asked for."""
        found = dict(self.priors)
        for tier, prior in self.priors.items():
            if prior.sampler == "diffusion" and request.steps not in (None, prior.distilled_steps):
                found[tier] = pretrained.load_diffusion(self.models[tier], tier, request.steps)
        return found


def load(directory: Path | None = None, **workdirs: Path) -> MusicGenerator:
    """Models from their workdirs: those that `directory` holds, or those that are named.

    Args:
      directory: with the workdirs of a tokenizer and of priors as folders in it. Of several for one stream, the one
        counts that has the stream's name; that of the tokenizer is vqvae.
      **workdirs: vqvae (or tokenizer), and streams such as top: folders instead of those, or beside them; "" leaves one
        out.

    Raises:
      NotFoundError: no such folder, no tokenizer, or no prior.
      UserError: a folder holds something else.
    """
    tokenizer, models = find(directory, **workdirs)
    names = [name for name in models if name != "vqvae"]
    if not names:
        raise NotFoundError(f"{directory or 'the arguments'}: a tokenizer (vqvae) and a prior are needed")
    priors = {name: pretrained.load_code_model(models[name], name) for name in names}
    return MusicGenerator(tokenizer, priors, models)


def find(directory: Path | None = None, **workdirs: Path) -> tuple[Tokenizer, dict[str, str]]:
    """(the tokenizer, "vqvae" and streams -> workdir, coarse to fine); arguments and errors as of `load`."""
    given = {"vqvae" if name == "tokenizer" else name: _path(name, path) for name, path in workdirs.items()}
    root = None if directory is None else files.local_path(directory, "directory")
    models = ({} if root is None else _workdirs_in(root, given)) | given
    if not models.get("vqvae"):
        raise NotFoundError(f"{directory or 'the arguments'}: a tokenizer (vqvae) and a prior are needed")
    tokenizer = pretrained.load_vqvae(models["vqvae"])
    names = ("vqvae", *tokenizer.layout.names)
    unknown = ", ".join(sorted(set(given) - set(names)))
    config.require(not unknown, f"{unknown}: no such model; a folder of models holds {', '.join(names)}")
    return tokenizer, {name: models[name] for name in names if models.get(name)}


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
