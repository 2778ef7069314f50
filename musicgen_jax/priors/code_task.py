"""The training task of a model over codes: what all kinds of them share."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from musicgen_jax import config
from musicgen_jax.conditions import position
from musicgen_jax.nn import adapters, modules
from musicgen_jax.priors import code_model, flops, loss, prior
from musicgen_jax.sharding import rules
from musicgen_jax.training import precision, state

Codebooks = Mapping[str, jax.typing.ArrayLike]
_NONE: Codebooks = MappingProxyType({})


def functional(
    module: type[code_model.CodeModel],
    run: config.PriorTraining,
    axis_rules: rules.AxisRules | None = None,
    codebooks: Codebooks = _NONE,
) -> modules.Functional:
    """The run's model, a `module`, as pure functions; arguments as `code_model.CodeModel` takes them."""
    dtype = precision.dtype(run.training.compute_dtype)
    return modules.Functional(lambda rngs: module(run.model, axis_rules, codebooks=codebooks, dtype=dtype, rngs=rngs))


def adapted(model: modules.Functional, lora: config.LoRAConfig) -> modules.Functional:
    """The model with adapters, where there are any.

    Raises:
      UserError: they do not fit its matrices.
    """
    return adapters.Adapted(model, lora.rank, lora.strength, lora.names) if lora.rank else model


def code_task(
    module: type[code_model.CodeModel], loss_of: Any, run: config.PriorTraining, codebooks: Codebooks | None = None
) -> state.Task:
    """What the trainer must know of the run's model.

    Args:
      module: its class.
      loss_of: `state.Task.loss`.
      run: its model resolved.
      codebooks: tier -> the tokenizer's entries, which the embeddings start from.
    """
    model, batch_size = run.model, run.data.batch_size
    axis_rules, settings = prior.axis_rules(run), model.transformer
    per_step = 16 * settings.width + 12 * settings.num_heads * settings.head_dim  # of a block; see `state.Task.traffic`
    return state.Task(
        functional=adapted(functional(module, run, axis_rules, codebooks or _NONE), run.lora),
        loss=loss_of,
        unit="codes",
        units_per_step=batch_size * model.context * model.num_codebooks,
        weight=loss.num_losses,
        summarize=loss.summarize,
        axis_rules=axis_rules,
        batch=_batch(model, batch_size),
        flops=lambda: flops.prior_step_flops(model, batch_size),
        traffic=batch_size * model.num_steps * settings.num_layers * per_step,
    )


def _batch(model: config.PriorConfig, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    shapes: dict[str, Any] = {"codes": (model.context, model.num_codebooks), "mask": (model.context,)}
    shapes |= {"labels": (len(model.labels),), "start": (), "length": ()}
    if model.upsampling:
        shapes["above"] = (model.context // model.upsampling, model.num_codebooks)
    if model.score:
        shapes |= {"notes": (model.score_notes, 5), "scored": ()}
    if model.lyrics:
        shapes |= {"lyrics": (model.lyric_tokens,), "lyric_times": (model.lyric_tokens,), "worded": ()}
    if model.text:
        shapes |= {
            "text": (max(model.text_tokens, 1), max(model.text_width, 1)),
            "text_mask": (max(model.text_tokens, 1),),
        }
    if model.melody:
        shapes["chroma"] = (model.chroma_frames,)
    if model.hears_meter:
        shapes["position"] = (model.context // model.voices, len(position.COLUMNS))
    dtypes = {"mask": jnp.bool_, "scored": jnp.bool_, "notes": jnp.float32}
    dtypes |= {"worded": jnp.bool_, "lyric_times": jnp.float32, "text": jnp.float32, "text_mask": jnp.bool_}
    return {
        name: jax.ShapeDtypeStruct((batch_size, *shape), dtypes.get(name, jnp.int32)) for name, shape in shapes.items()
    }


def prior_loss(
    model: code_model.CodeModel, batch: dict[str, jax.Array], key: jax.Array, train: bool
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`loss.prior_loss` as a `state.Task` has it."""
    return loss.prior_loss(model, batch, key if train else None)
