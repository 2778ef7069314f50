"""Trained models from the workdirs that training wrote."""

import functools
import pathlib
from typing import Any

import jax
from flax import nnx

from musicgen_jax import config, finetuning, kinds
from musicgen_jax.compression import int8
from musicgen_jax.diffusion import distillation, trained_diffusion
from musicgen_jax.nn import modules
from musicgen_jax.priors import trained
from musicgen_jax.runtime import files, records
from musicgen_jax.sharding import meshes
from musicgen_jax.text import text_encoder
from musicgen_jax.tokenizers.adversarial import adversarial
from musicgen_jax.tokenizers.codec import codec_task
from musicgen_jax.tokenizers.dac import dac
from musicgen_jax.tokenizers.encodec import chunks, encodec
from musicgen_jax.tokenizers.tokenizer import Tokenizer
from musicgen_jax.training import checkpointing


def load_vqvae(workdir: str) -> Tokenizer:
    """The tokenizer that train_vqvae wrote: the tiers alone, if it was trained against a discriminator.

    Raises:
      NotFoundError: no such workdir, or no complete checkpoint in it.
      UserError: the folder holds something else, or the checkpoint does not fit its config.
    """
    return _load(workdir, kinds.read_run(workdir, *kinds.TOKENIZERS))


def load_vqvae_weights(workdir: str) -> tuple[config.VQVAETraining, modules.Tree, modules.Tree]:
    """(config, parameters, buffers) of the tiers that `load_vqvae` takes; raises as it."""
    run = kinds.read_run(workdir, "vqvae")
    return run, *adversarial.tiers_alone(run, _restore(workdir, run.model, adversarial.functional(run)))


def load_encodec(workdir: str) -> chunks.ChunkCodec:
    """An EnCodec as a codec of recordings, mono or stereo, from the workdir of train_vqvae or convert; raises as
    `load_vqvae`."""
    run, params, buffers = load_encodec_weights(workdir)
    return chunks.ChunkCodec(run.model, params, buffers)


def load_encodec_weights(workdir: str) -> tuple[config.EncodecTraining, modules.Tree, modules.Tree]:
    """(config, parameters, buffers) that `load_encodec` takes; raises as it."""
    run = kinds.read_run(workdir, "encodec")
    restore = functools.partial(_restore, workdir, run.model)
    return run, *codec_task.weights_alone(run, encodec.Encodec, restore)


def load_dac_weights(workdir: str) -> tuple[config.DACTraining, modules.Tree, modules.Tree]:
    """(config, parameters, buffers) of a Descript audio codec, from the workdir of train_vqvae or convert; raises as
    `load_vqvae`."""
    run = kinds.read_run(workdir, "dac")
    return run, *codec_task.weights_alone(run, dac.DAC, functools.partial(_restore, workdir, run.model))


def load_prior(workdir: str, tier: str = "") -> trained.TrainedPrior:
    """The autoregressive prior of `tier`, or of any, that train_prior or compress wrote.

    Raises:
      NotFoundError: no such workdir, or no complete checkpoint in it.
      UserError: the folder holds another tier or something else, or the checkpoint does not fit its config.
    """
    return _load_code_model(workdir, tier, "prior", "musicgen")


def load_any_prior(workdir: str, tier: str = "") -> trained.TrainedPrior:
    """The autoregressive prior that a folder holds, a published one too; arguments and errors as `load_prior`."""
    return _load_code_model(workdir, tier, "prior", "musicgen", "jukebox_prior")


def load_code_model(workdir: str, tier: str = "") -> trained.TrainedPrior:
    """The model over codes that a folder holds, of any kind; arguments and errors as `load_prior`."""
    return _load_code_model(workdir, tier, "prior", "musicgen", "diffusion", "jukebox_prior")


def load_trained_on_codes(workdir: str) -> trained.TrainedPrior:
    """The model that train_prior wrote, of any kind; errors as `load_prior`."""
    return _load_code_model(workdir, "", *kinds.OVER_CODES)


def load_composer(workdir: str) -> trained.TrainedPrior:
    """The composer that train_prior wrote; errors as `load_prior`."""
    return _load_code_model(workdir, "", "composer")


def load_diffusion(workdir: str, tier: str = "", steps: int | None = None) -> trained_diffusion.TrainedDiffusion:
    """The diffusion model that train_prior or compress --method=distill wrote.

    Args:
      workdir: of the model.
      tier: of its codes; "" for any.
      steps: of the sampler. Where the workdir is of a distillation, the model of the round for so many steps, or if
        there was none the one for any number; None takes that of the last round, the fewest.

    Raises:
      NotFoundError, UserError: as `load_prior`.
    """
    folder = pathlib.Path(workdir)
    finished = kinds.in_folder(folder) is not None or not (folder / distillation.SETTINGS).is_file()
    config.require(finished, f"{workdir} is of a distillation that has not finished: run that command again")
    if steps is not None and steps != kinds.read_run(workdir, "diffusion").distillation.steps:
        rounds = [folder / distillation.ROUNDS / name for name in (str(steps), "any")]
        workdir = next((str(one) for one in rounds if one.is_dir()), workdir)
    return _load_code_model(workdir, tier, "diffusion")


def load_jukebox_prior(
    workdir: str,
) -> tuple[modules.Functional, tuple[modules.Tree, modules.Tree], config.JukeboxPriorConfig]:
    """A published prior, from the workdir that convert wrote: its module, (parameters, buffers) and config.

    Raises:
      NotFoundError: no such workdir, or no complete checkpoint in it.
      UserError: the folder holds something else, or the checkpoint does not fit its config.
    """
    prior = _load(workdir, kinds.read_run(workdir, "jukebox_prior"))
    return prior.functional, prior.weights, prior.config


def load_text_encoder(workdir: str) -> text_encoder.TextEncoder:
    """The text encoder that convert wrote, with the vocabulary beside it.

    Raises:
      NotFoundError: no such workdir, no complete checkpoint in it, or no spiece.model.
      UserError: the folder holds something else, one of its files is damaged, or sentencepiece is not installed.
    """
    path = pathlib.Path(workdir) / "config.json"
    published = path.is_file() and kinds.in_folder(workdir) is None and "model_type" in files.read_json(path)
    config.require(not published, f"{workdir} holds a model as it was published: `convert --source=t5` makes it ours")
    run = kinds.read_run(workdir, "t5")
    vocabulary = text_encoder.read_vocabulary(workdir)  # before the weights, which take longer
    return _load(workdir, run).with_vocabulary(vocabulary)


def training_steps(workdir: str) -> int:
    """Step of the checkpoint that is loaded from a workdir; 0 where its weights were not trained there."""
    with checkpointing.Checkpointer(pathlib.Path(workdir)) as checkpointer:
        return checkpointer.latest_step() or 0


def is_text_encoder(workdir: pathlib.Path) -> bool:
    """Whether a folder holds a text encoder."""
    return kinds.in_folder(workdir) is kinds.KINDS["t5"]


def name_of_model(workdir: pathlib.Path) -> str:
    """The stream whose codes a trained model in a folder is of, "vqvae" for a tokenizer; "" where there is none, or a
    text encoder."""
    kind = kinds.in_folder(workdir)
    if kind is None or kind is kinds.KINDS["t5"]:
        return ""
    if kind.data == "audio":
        return "vqvae"
    path = workdir / "config.json"
    values = files.read_json(path)
    model = records.check(dict[str, Any], values.get("model", values), f"{path}: model")  # published: no run around it
    return records.check(str, model.get("tier"), f"{path}: model.tier")


def _load_code_model(workdir: str, tier: str, *names: str) -> Any:
    run = kinds.read_run(workdir, *names)
    config.require(
        tier in ("", run.model.tier),
        f"{workdir} holds a prior of the {run.model.tier} tier where one of the {tier} tier is wanted: pass another "
        f"folder as `{tier}`",
    )
    return _load(workdir, run).with_names(workdir)


def _load(workdir: str, run: Any) -> Any:
    adapters = getattr(run, "lora", None)  # tokenizers and published priors have none
    if adapters and adapters.rank:
        return kinds.of(run).load(run, functools.partial(_restore_adapted, workdir, run))
    return kinds.of(run).load(run, functools.partial(_restore, workdir, run.model))


def _restore_adapted(
    workdir: str, run: Any, functional: modules.Functional, quantization: config.QuantizationConfig
) -> tuple[modules.Tree, modules.Tree]:
    """(parameters, buffers) on one device, with the adapters of a workdir in those of their model."""
    return finetuning.restore(run, pathlib.Path(workdir), functional, meshes.single_device_mesh()), {}


def _restore(
    workdir: str, model: Any, functional: modules.Functional, quantization: config.QuantizationConfig | None = None
) -> tuple[modules.Tree, modules.Tree]:
    """(parameters, buffers) on one device, the matrices of a quantized model as such."""
    params, buffers = nnx.to_pure_dict(functional.abstract_params), nnx.to_pure_dict(functional.abstract_buffers)
    if quantization is not None and quantization.weights == "int8":
        rounded = functools.partial(int8.quantize, declared=functional.declared, activations=quantization.activations)
        params = jax.eval_shape(rounded, params)
    whole = jax.sharding.NamedSharding(meshes.single_device_mesh(), jax.P())
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), (int8.stored(params), buffers)
    )
    with checkpointing.Checkpointer(pathlib.Path(workdir)) as checkpointer:
        stored, buffers = checkpointer.restore_model(config.to_dict(model), *abstract)
    return int8.loaded(params, stored), buffers
