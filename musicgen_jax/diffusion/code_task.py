"""The training task of a model over codes: a prior, or a diffusion model, as the run's config says."""

from collections.abc import Mapping
from types import MappingProxyType

import jax

from musicgen_jax import config
from musicgen_jax.diffusion import denoiser
from musicgen_jax.diffusion import loss as diffusion_loss
from musicgen_jax.nn import modules
from musicgen_jax.priors import code_model, loss, prior
from musicgen_jax.sharding import rules
from musicgen_jax.training import precision, state


def functional(
    run: config.PriorTraining,
    axis_rules: rules.AxisRules | None = None,
    codebooks: Mapping[str, jax.typing.ArrayLike] = MappingProxyType({}),
) -> modules.Functional:
    """The run's model as pure functions; arguments as `code_model.CodeModel` takes them."""
    module = denoiser.Denoiser if isinstance(run.model, config.DiffusionConfig) else prior.Prior
    dtype = precision.dtype(run.training.compute_dtype)
    return modules.Functional(lambda rngs: module(run.model, axis_rules, codebooks=codebooks, dtype=dtype, rngs=rngs))


def code_task(
    run: config.PriorTraining,
    axis_rules: rules.AxisRules,
    codebooks: Mapping[str, jax.typing.ArrayLike] = MappingProxyType({}),
    flops_per_step: float = 0.0,
) -> state.Task:
    """What the trainer must know of the run's model.

    Args:
      run: PriorTraining or DiffusionTraining, its model resolved.
      axis_rules: layout on the mesh.
      codebooks: tier -> the tokenizer's entries, which the embeddings start from.
      flops_per_step: see `state.Task`.
    """
    return state.Task(
        functional=functional(run, axis_rules, codebooks),
        loss=diffusion_loss.diffusion_loss if isinstance(run.model, config.DiffusionConfig) else _prior_loss,
        unit="codes",
        units_per_step=run.data.batch_size * run.model.context * run.model.num_codebooks,
        weight=loss.num_losses,
        summarize=loss.summarize,
        flops_per_step=flops_per_step,
    )


def _prior_loss(
    model: code_model.CodeModel, batch: dict[str, jax.Array], key: jax.Array, train: bool
) -> tuple[jax.Array, dict[str, jax.Array]]:
    return loss.prior_loss(model, batch, key if train else None)
