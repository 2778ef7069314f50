"""Runs that begin from a trained model: what they inherit of it, and which weights they begin with."""

import operator
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config, kinds
from musicgen_jax.config import fields
from musicgen_jax.nn import modules
from musicgen_jax.priors import code_task
from musicgen_jax.runtime import console
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sharding import rules
from musicgen_jax.training import bases, checkpointing, start, state

# (model, data, whether it learns new labels) -> the model for these data, and what is to be said of it.
Inherited = Callable[[Any, str, bool], tuple[Any, list[str]]]


def inherit(
    run: config.PriorTraining, init: str, workdir: str, overridden: Sequence[str], inherited: Inherited
) -> bool:
    """Gives `run` the model that it goes on from, if there is one: that in `init`, or that of the run in its folder.

    Args:
      run: its `init` and `model` are replaced.
      init: workdir of a trained model, or "".
      workdir: of the run.
      overridden: paths in the model's config, such as "transformer.dropout", that were given values of their own.
      inherited: `code_dataset.inherited`, or that of other data.

    Returns:
      Whether it begins from a model.

    Raises:
      NotFoundError: there is no such model.
      UserError: it does not fit what was asked for, or cannot be trained on.
    """
    began = _began(workdir, run)
    if not init and not (began and began.init.path):
        rule = "adapters are of a trained model: name it with --init=DIR, or train without: --config.lora.rank=0"
        config.require(not run.lora.rank, f"lora.rank={run.lora.rank}: {rule}")
        return False
    source = _of_model(run, init) if began is None else _of_run(run, began, init, workdir)
    run.model = _overridden(source.model, run.model, overridden, init or workdir)
    run.model, said = inherited(run.model, run.data.path, not run.lora.rank)
    for sentence in said:
        console.say(f"note: {sentence}")
    return True


def _began(workdir: str, run: config.PriorTraining) -> Any | None:
    """The config of the run in a folder; None where there is none, or a damaged one, which will be written again."""
    try:
        return config.read_json(pathlib.Path(workdir) / "config.json", type(run))
    except UserError:
        return None


def _of_model(run: config.PriorTraining, init: str) -> Any:
    """The config in the workdir `init`, whose weights `run` will remember to have begun with."""
    source = kinds.read_run(init, *kinds.OVER_CODES)
    rule = "leave out --config, or pass one of the same"
    holds, asked = kinds.of(source).name, kinds.of(run).name
    config.require(source.kind == run.kind, f"`init`={init} holds {holds}, and --config is of {asked}: {rule} kind")
    holds, asked = source.model.tier, run.model.tier
    config.require(holds == asked, f"`init`={init} holds a model of {holds}, and --config is of {asked}: {rule} tier")
    config.require(
        source.model.quantization.weights == "float",
        f"`init`={init} holds int8 weights, which cannot be trained: pass the model that they were made from",
    )
    config.require(
        not source.lora.rank,
        f"`init`={init} holds adapters: compress --method=merge writes them and their model into one; pass that",
    )
    step, fingerprint = bases.of_workdir(pathlib.Path(init))
    run.init = config.InitConfig(str(pathlib.Path(init).absolute()), fingerprint)
    console.say(f"beginning from {init}, step {step} ({fingerprint})")
    return source


def _of_run(run: config.PriorTraining, began: Any, init: str, workdir: str) -> Any:
    """The config `began` of the run that goes on, where it is that of `run`."""
    config.require(
        bool(began.init.path),
        f"`workdir`={workdir} holds a run that did not begin from another model: leave out `init`, or choose another "
        "`workdir`",
    )
    asked, had = config.to_dict(run.lora), config.to_dict(began.lora)
    different = ", ".join(f"lora.{name}={had[name]}, now {asked[name]}" for name in had if had[name] != asked[name])
    config.require(
        not different, f"`workdir`={workdir} began with {different}: give the same, or choose another `workdir`"
    )
    if init and pathlib.Path(init).is_dir():
        config.require(
            bases.holds(pathlib.Path(init), began.init.fingerprint),
            f"`workdir`={workdir} began from the model {began.init.fingerprint}, of which `init`={init} has no "
            "checkpoint: name that, or choose another `workdir`",
        )
    run.init = began.init
    return began


def _overridden(model: Any, asked: Any, overridden: Sequence[str], where: str) -> Any:
    """The model's config with what of `asked` may be another: levers, and how often what is hidden in training.

    Raises:
      UserError: another field is given a value that is not the model's.
    """
    model = config.from_dict(type(model), config.to_dict(model))  # a copy
    for path in overridden:
        value, had = (operator.attrgetter(path)(one) for one in (asked, model))
        if path.replace(".", "/") in fields.LEVERS or path.endswith("dropout"):
            owner, _, name = path.rpartition(".")
            setattr(operator.attrgetter(owner)(model) if owner else model, name, value)
            continue
        config.require(
            value == had,
            f"config.model.{path}={value}: the model in {where} has {had}, and goes on as it is: leave it out",
        )
    if asked.text and model.text:  # whose encoder the command line may name, and a converted model does not
        had = model.text_encoder or asked.text_encoder
        rule = "captions must be told by the encoder that the model knows"
        differ = f"`text_encoder` is {asked.text_encoder}, and that of the model in {where} is {had}: {rule}"
        config.require(asked.text_encoder in ("", had), differ)
        model.text_encoder = had
    return model


def begin(
    task: state.Task, run: config.PriorTraining, workdir: pathlib.Path, mesh: jax.sharding.Mesh, named: str = ""
) -> modules.Tree:
    """Lets a run that `inherit` has changed begin: what its folder lacks of weights is taken from its model.

    Without adapters a run that has checkpoints has all it needs, and its model is not looked for.

    Args:
      task: of the run.
      run: its config.
      workdir: its folder.
      mesh: devices, on which no array is ever whole where it is divided.
      named: where its model is said to be, "" for nowhere.

    Returns:
      The parameters that `loop.train` takes as `frozen`.

    Raises:
      NotFoundError: the model is not found.
      UserError: another run trains there, or a checkpoint is damaged.
    """
    if run.lora.rank:
        return weights_of(run, workdir, task.axis_rules, mesh, named)
    with start.only_one(workdir):
        if not bases.has_checkpoint(workdir):
            params = weights_of(run, workdir, task.axis_rules, mesh, named)
            shapes = nnx.to_pure_dict(task.functional.abstract_params)
            start.from_weights(task, run, workdir, mesh, jax.tree.map(_grown, params, shapes))
    return {}


def _grown(table: jax.Array, wanted: Any) -> jax.Array:
    """A table of labels with rows for the values that are new: as that of the unknown one, which the model took them
    for."""
    if table.shape == wanted.shape:
        return table
    return jnp.concatenate([table, jnp.repeat(table[:1], wanted.shape[0] - table.shape[0], axis=0)])


def weights_of(
    run: config.PriorTraining,
    workdir: pathlib.Path,
    axis_rules: rules.AxisRules,
    mesh: jax.sharding.Mesh,
    named: str = "",
) -> modules.Tree:
    """The parameters that the run in `workdir` began with, laid out on a mesh; arguments and errors as `begin`."""
    folder, step = bases.find(run.init, workdir, named)
    source = kinds.read_run(str(folder), run.kind)
    functional = kinds.of(source).functional(source)
    abstract = _placed(nnx.to_pure_dict(functional.abstract_params), functional.shardings(axis_rules, mesh)[0])
    with checkpointing.Checkpointer(folder) as checkpointer:
        return checkpointer.restore_model(config.to_dict(source.model), abstract, {}, step)[0]


def restore(
    run: config.PriorTraining, workdir: pathlib.Path, functional: modules.Functional, mesh: jax.sharding.Mesh
) -> modules.Tree:
    """The parameters of a model with the adapters in `workdir` in them: merged once, so that sampling pays for none.

    Args:
      run: of the adapters.
      workdir: their folder.
      functional: of the model.
      mesh: of one device.

    Raises:
      NotFoundError: no complete checkpoint, or the adapters' model is not found.
      UserError: a checkpoint is damaged, or does not fit its config.
    """
    adapted, axis_rules = code_task.adapted(functional, run.lora), rules.AxisRules()
    shapes = jax.eval_shape(adapted.init, jax.random.key(0))[0]
    with checkpointing.Checkpointer(workdir) as checkpointer:
        abstract = _placed(shapes, adapted.shardings(axis_rules, mesh)[0])
        own = checkpointer.restore_model(config.to_dict(run.model), abstract, {})[0]
    base = weights_of(run, workdir, axis_rules, mesh)
    return jax.jit(lambda own, base: adapted.whole(own, base, merged=True))(own, base)


def _placed(shapes: modules.Tree, shardings: modules.Tree) -> modules.Tree:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings
    )
