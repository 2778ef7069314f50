"""The kinds of models: for each one what its config is, who writes it, and how it is built, trained and loaded.

A workdir's config.json says its kind. Whoever needs to know what a folder holds, or the task that a run trains, asks
here; a new kind is a new entry of `KINDS`.
"""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

from musicgen_jax import config
from musicgen_jax.codes.layout import Layout
from musicgen_jax.diffusion import denoiser, diffusion_loss, trained_diffusion
from musicgen_jax.nn import modules
from musicgen_jax.priors import code_task, jukebox, jukebox_labels, musicgen, prior, published, trained
from musicgen_jax.runtime import console, files
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.sharding import meshes
from musicgen_jax.text import text_encoder
from musicgen_jax.tokenizers.adversarial import adversarial
from musicgen_jax.tokenizers.codec import codec_task, codec_tokenizer
from musicgen_jax.tokenizers.dac import dac, dac_tokenizer
from musicgen_jax.tokenizers.encodec import encodec, encodec_tokenizer
from musicgen_jax.tokenizers.tokenizer import Tokenizer
from musicgen_jax.tokenizers.vqvae import vqvae_task, vqvae_tokenizer
from musicgen_jax.training import state

Weights = tuple[modules.Tree, modules.Tree]
# (module, how its matrices are kept) -> the (parameters, buffers) of a workdir, on one device.
Restore = Callable[[modules.Functional, config.QuantizationConfig], Weights]
_FLOAT = config.QuantizationConfig()
_WRITERS = ("train_vqvae", "train_prior", "compress", "convert")  # verbs that write models


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of model.

    Attributes:
      config: class of what config.json holds; its `kind` is the name there, its `model` describes the weights.
      name: in messages, with its article.
      written_by: which command writes such a folder, in messages.
      trained_by: verb that trains it; "" where nothing does.
      data: what it is trained on: "audio", "codes" or "scores"; "" where it is not trained.
      functional: (run, ...) -> the module as pure functions, in the run's compute dtype.
      task: (run, what only its data knows) -> what the trainer must know. The second argument is of a tokenizer the
        statistics of the audio, of a model over codes the tokenizer's codebooks; None does without.
      load: (run, restore) -> the trained model.
      layout: (its config, fingerprint of its weights) -> the codes that a tokenizer makes; None for other models.
      unscored: why evaluation does not score its codes; "" where it does, or has none to score.
    """

    config: type
    name: str
    written_by: str
    trained_by: str
    data: str
    functional: Callable[..., modules.Functional]
    task: Callable[..., state.Task] | None
    load: Callable[[Any, Restore], Any]
    layout: Callable[[Any, str], Layout] | None = None
    unscored: str = ""


def _load_vqvae(run: config.VQVAETraining, restore: Restore) -> Tokenizer:
    weights = adversarial.tiers_alone(run, restore(adversarial.functional(run), _FLOAT))
    return vqvae_tokenizer.VQVAETokenizer(run.model, *weights)


def _load_code_model(
    module: type, make: Callable[..., trained.TrainedPrior], run: config.PriorTraining, restore: Restore
) -> trained.TrainedPrior:
    if run.transformer.attention == "pallas" and meshes.platform() != "tpu":
        # Trained on a TPU, whose kernels only it has; the blocks are the same function.
        run.transformer.attention = "blocked"
    functional = code_task.functional(module, run)
    return make(run, functional, restore(functional, run.model.quantization))


def _jukebox_functional(model: config.JukeboxPriorConfig) -> modules.Functional:
    return modules.Functional(lambda rngs: jukebox.JukeboxPrior(model, rngs=rngs))


def _load_jukebox(model: config.JukeboxPriorConfig, restore: Restore) -> published.PublishedPrior:
    functional = _jukebox_functional(model)
    names = jukebox_labels.no_names(model)
    return published.PublishedPrior(model, functional, restore(functional, _FLOAT), codes_path="", names=names)


_TOKENIZER = {
    "trained_by": "train_vqvae",
    "data": "audio",
    "functional": vqvae_task.functional,
    "task": vqvae_task.vqvae_task,
    "load": _load_vqvae,
    "layout": vqvae_tokenizer.layout_of,
}


def _code_model(
    module: type, loss: Callable, make: Callable[..., trained.TrainedPrior], data: str = "codes"
) -> dict[str, Any]:
    """What the kinds of models over codes share: their module, its loss, and the trained model that a run makes."""
    return {
        "trained_by": "train_prior",
        "data": data,
        "functional": functools.partial(code_task.functional, module),
        "task": functools.partial(code_task.code_task, module, loss),
        "load": functools.partial(_load_code_model, module, make),
    }


KINDS: dict[str, Kind] = {
    kind.config.kind: kind
    for kind in (
        Kind(config.VQVAETraining, name="a three-tier tokenizer", written_by="train_vqvae or convert", **_TOKENIZER),
        Kind(config.ResidualVQVAETraining, name="a residual tokenizer", written_by="train_vqvae", **_TOKENIZER),
        Kind(
            config.EncodecTraining,
            name="an EnCodec",
            written_by="train_vqvae, with configs/encodec.py, or convert --source=encodec",
            **codec_task.facts(encodec.Encodec, encodec_tokenizer.EncodecTokenizer, encodec_tokenizer.layout_of),
        ),
        Kind(
            config.DACTraining,
            name="a Descript audio codec",
            written_by="train_vqvae, with configs/dac.py, or convert --source=dac",
            **codec_task.facts(dac.DAC, dac_tokenizer.DACTokenizer, codec_tokenizer.layout_of),
        ),
        Kind(
            config.PriorTraining,
            name="a prior",
            written_by="train_prior, with configs/prior.py, or compress",
            **_code_model(prior.Prior, code_task.prior_loss, trained.TrainedPrior.of_run),
        ),
        Kind(
            config.MusicgenTraining,
            name="a MusicGen prior",
            written_by="train_prior, with configs/musicgen.py, compress or convert",
            **_code_model(prior.Prior, code_task.prior_loss, musicgen.TrainedMusicgen.of_run),
        ),
        Kind(
            config.DiffusionTraining,
            name="a diffusion model",
            written_by="train_prior, with configs/diffusion.py, or compress --method=distill",
            unscored="a diffusion model gives a bound on the likelihood of codes, which does not compare",
            **_code_model(denoiser.Denoiser, diffusion_loss.diffusion_loss, trained_diffusion.TrainedDiffusion.of_run),
        ),
        Kind(
            config.ComposerTraining,
            name="a composer",
            written_by="train_prior, with configs/symbolic.py",
            **_code_model(prior.Prior, code_task.prior_loss, trained.TrainedPrior.of_run, data="scores"),
        ),
        Kind(
            config.JukeboxPriorConfig,
            name="a published prior",
            written_by="convert",
            trained_by="",
            data="",
            functional=_jukebox_functional,
            task=None,
            load=_load_jukebox,
        ),
        Kind(
            config.T5Config,
            name="a text encoder",
            written_by="convert --source=t5",
            trained_by="",
            data="",
            functional=text_encoder.functional,
            task=None,
            load=lambda model, restore: text_encoder.TextEncoder(
                model, restore(text_encoder.functional(model), _FLOAT)
            ),
        ),
    )
}

TOKENIZERS = tuple(name for name, kind in KINDS.items() if kind.data == "audio")
OVER_CODES = tuple(name for name, kind in KINDS.items() if kind.trained_by == "train_prior")


def of(run: Any) -> Kind:
    """The kind of a run's config."""
    return KINDS[run.kind]


def task(run: Any, given: Any = None) -> state.Task:
    """What the trainer must know of the run's model; `given` is what only its data knows (see `Kind.task`)."""
    return of(run).task(run, given)


def in_folder(workdir: str | os.PathLike[str]) -> Kind | None:
    """The kind of model that a folder holds; None where it has no config.json, or one of no model.

    Raises:
      UserError: config.json is damaged, or of a kind that there is not.
    """
    path = pathlib.Path(workdir) / "config.json"
    found = config.kind_of(files.read_json(path)) if path.is_file() else ""
    config.require(
        found in ("", *KINDS),
        f"{path} is of a model of the kind {found!r}, which this version does not have: it has {', '.join(KINDS)}",
    )
    return KINDS.get(found)


def read_run(workdir: str, *names: str) -> Any:
    """The config in a folder, which must be of one of these kinds.

    Raises:
      NotFoundError: no such folder, or no config.json in it.
      UserError: the folder holds something else, or a value is out of range.
    """
    kinds = [KINDS[name] for name in names]
    wanted = "a tokenizer" if names == TOKENIZERS else " or ".join(kind.name for kind in kinds)
    verbs = kinds[0].written_by if len(kinds) == 1 else _verbs(kinds)
    path = pathlib.Path(workdir)
    if not path.is_dir():
        raise NotFoundError(f"no such folder: {workdir}; pass a folder that {verbs} wrote")
    found = in_folder(workdir)
    if found is not None and found not in kinds:
        raise UserError(f"{workdir} holds {found.name}, not {wanted}: pass a folder that {verbs} wrote")
    run = config.read_json(path / "config.json", (found or kinds[0]).config)
    run.model.validate()
    return run


def _verbs(kinds: list[Kind]) -> str:
    """Which commands write folders of these kinds, without their flags."""
    words = [word for kind in kinds for word in re.findall(r"\w+", kind.written_by)]
    return " or ".join(dict.fromkeys(word for word in words if word in _WRITERS))


def keep_windows(workdir: str, run: config.PriorTraining) -> None:
    """Gives `run` the share of unknown labels that the run in its folder began with, if there is one, and says so where
    it asks for another: this decides what the windows of training are like, and no checkpoint remembers it."""
    try:
        began = config.read_json(pathlib.Path(workdir) / "config.json", type(run)).unknown_labels
    except UserError:  # there is none, or it is damaged and will be written again
        return
    if began != run.unknown_labels:
        asked, run.unknown_labels = run.unknown_labels, began
        console.say(f"note: this run began with unknown_labels={began:g} and keeps it; {asked:g} needs a new `workdir`")


def check_workdir(workdir: str, run: Any) -> None:
    """Raises UserError unless `run` may write there: to nothing yet, or to a folder of its own kind."""
    path = pathlib.Path(workdir)
    config.require(path.is_dir() or not os.path.lexists(path), f"`workdir`={workdir} is no folder: choose another")
    try:
        found = in_folder(path)
    except UserError:
        if not (path / "checkpoints").is_dir():  # which are compared with the run's config; it is written again
            raise
        return
    holds = found.name if found else "a config.json of no model"
    config.require(
        found is of(run) or not (path / "config.json").exists(),
        f"`workdir`={workdir} holds {holds}, not {of(run).name}: choose another `workdir`",
    )
