"""Guidance in one row: a prior learns to give what it gave with guidance, of two rows, when it is told how much.

Guidance distillation (Meng et al. 2022, section 3.1) of distributions: for guidance w, drawn anew for every window, the
targets are the teacher's logits with and without what guides, u + w (c - u).
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.priors import code_model, loss, trained
from musicgen_jax.sharding import rules
from musicgen_jax.training import state


def guided(prior: trained.TrainedPrior, names: Sequence[str], most: float) -> config.PriorConfig:
    """The config of the model that is told its guidance.

    Args:
      prior: the teacher.
      names: the conditions that guidance counts; none takes score, lyrics and text where the prior may do without, and
        if there are none labels.
      most: the largest guidance.

    Raises:
      UserError: the teacher was never trained without one of these, or `most` is no more than 1.
    """
    model = prior.config
    rule = "must be more than 1, which is no guidance, and finite"
    config.require(1 < most < math.inf, f"`most_guidance`={most}: {rule}")
    usual = [name for name in ("score", "lyrics", "text") if model.dropout_of(name) > 0] or ["labels"]
    names = tuple(names or usual)
    prior.require_guidance(most, names)
    return dataclasses.replace(model, guided_by=names, most_guidance=most)


def begun(teacher: modules.Tree, student: modules.Functional) -> modules.Tree:
    """The student's first parameters: the teacher's, and zero for what it has besides."""
    own = nnx.traversals.flatten_mapping(teacher)
    shapes = nnx.traversals.flatten_mapping(nnx.to_pure_dict(student.abstract_params))
    found = {path: own[path] if path in own else jnp.zeros(leaf.shape, leaf.dtype) for path, leaf in shapes.items()}
    return nnx.traversals.unflatten_mapping(found)


def task(of_student: state.Task, teacher: modules.Functional) -> state.Task:
    """The task of a student, whose loss is to be taught; the teacher's parameters are `frozen`."""
    beside = Taught(of_student.functional, teacher)
    return dataclasses.replace(of_student, functional=beside, loss=taught_loss, flops=None)


@dataclasses.dataclass
class Pair:
    """Who learns, and from whom."""

    student: code_model.CodeModel
    teacher: code_model.CodeModel


class Taught(modules.Functional):
    """A module that learns beside another one, whose parameters are `frozen`; both without buffers."""

    def __init__(self, student: modules.Functional, teacher: modules.Functional):
        self._student, self._teacher = student, teacher
        self.abstract_params, self.abstract_buffers = student.abstract_params, student.abstract_buffers
        self.declared, self.frozen = student.declared, nnx.to_pure_dict(teacher.abstract_params)
        self.init, self.shardings = student.init, student.shardings

    def whole(self, params: modules.Tree, frozen: modules.Tree, merged: bool = False) -> modules.Tree:
        """What `bind` takes; `merged`: the student's own, as its folder has them."""
        return params if merged else {"student": params, "teacher": frozen}

    def bind(self, params: modules.Tree, buffers: modules.Tree) -> Pair:
        """Both modules, with parameters from `whole`."""
        return Pair(self._student.bind(params["student"], buffers), self._teacher.bind(params["teacher"], {}))

    def buffers_of(self, module: Pair) -> modules.Tree:
        """The student's: {}."""
        return self._student.buffers_of(module.student)

    def frozen_shardings(self, axis_rules: rules.AxisRules, mesh: jax.sharding.Mesh) -> modules.Tree:
        """NamedSharding of every parameter of the teacher."""
        return self._teacher.shardings(axis_rules, mesh)[0]


def taught_loss(
    pair: Pair, batch: dict[str, jax.Array], key: jax.Array, train: bool
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean KL divergence of the student's codes from the teacher's guided ones, in nats per code that exists.

    Each window has a guidance of its own, drawn from 1 to the most. In training each condition is hidden from as many
    windows as the prior's own training hid it from: from teacher and student alike, so that the student can do without
    what guides, too.
    """
    student, teacher, codes = pair.student, pair.teacher, batch["codes"]
    settings, size = student.config, len(codes)
    key_of_guidance = jax.random.fold_in(key, student.conditions["guidance"].stream)
    guidance = jax.random.uniform(key_of_guidance, (size,), minval=1, maxval=settings.most_guidance)
    hidden = student.hidden_conditions(size, key) if train else {}
    without = hidden | dict.fromkeys(settings.guided_by, jnp.ones(size, bool))
    outs = (
        student.run(codes, student.condition(batch | {"guidance": guidance}, hidden)),
        teacher.run(codes, teacher.condition(batch, hidden)),
        teacher.run(codes, teacher.condition(batch, without)),
    )
    exists = jnp.broadcast_to(batch["mask"][..., None], codes.shape)
    exists = student.pattern.placed(exists, False).astype(jnp.float32)
    guidance = jnp.broadcast_to(guidance[:, None], exists.shape[:2])
    sums = functools.partial(_sums, student.predictor(), teacher.predictor())
    nats = loss.sum_over_chunks(sums, (*outs, guidance, exists), settings.loss_chunk)[0]
    nats = nats / jnp.maximum(loss.num_losses(batch), 1.0)
    return nats, {"kl": nats}


def _sums(own: Any, taught: Any, part: tuple[jax.Array, ...]) -> tuple[jax.Array]:
    """The KL divergences of some steps' codes, summed; `own` and `taught` are the predictors."""
    student, told, untold, guidance, exists = part
    predicted = own(student), taught(told), taught(untold)
    found, told, untold = (logits.reshape(*exists.shape, -1) for logits in predicted)
    targets = jax.nn.log_softmax(untold + guidance[..., None, None] * (told - untold))
    nats = optax.losses.kl_divergence_with_log_targets(jax.nn.log_softmax(found), targets)
    return (jnp.sum(nats * exists),)
