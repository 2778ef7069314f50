"""Everything that training changes, as one pytree."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.nn.flops import StepFlops
from musicgen_jax.sharding import rules
from musicgen_jax.training import precision, rng

Tree = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Task:
    """What the trainer must know of a model.

    Attributes:
      functional: the module as pure functions.
      loss: (module, batch, key, train) -> (scalar loss, metrics). In training it may update the module's buffers.
      unit: what throughput counts, "audio-s" or "codes".
      units_per_step: how many of them one step consumes.
      weight: (batch) -> scalar; how much a batch counts among those that one step accumulates, or that one evaluation
        looks at. It must be what `loss` divides by, or accumulation would not equal one large batch.
      summarize: means of `loss`'s metrics over batches or steps -> what is logged: has what is no mean itself, such as
        a perplexity, made of those that are. NumPy, on the host.
      clipped_apart: top-level names of parameters whose gradients are clipped by their own norm, apart from the rest:
        players that must not disturb each other.
      axis_rules: layout on a mesh.
      batch: shapes of the global batch, by name; empty where nobody has asked for them.
      flops: () -> operations of one step over the global batch; None where nobody has counted them.
      traffic: elements of activations that a pass over the global batch reads and writes, an estimate.
    """

    functional: modules.Functional
    loss: Callable[[nnx.Module, dict[str, jax.Array], jax.Array, bool], tuple[jax.Array, dict[str, jax.Array]]]
    unit: str
    units_per_step: float
    weight: Callable[[dict[str, jax.Array]], jax.Array] = lambda batch: jnp.float32(len(jax.tree.leaves(batch)[0]))
    summarize: Callable[[dict[str, Any]], dict[str, Any]] = lambda means: means
    clipped_apart: tuple[str, ...] = ()
    axis_rules: rules.AxisRules = dataclasses.field(default_factory=rules.AxisRules)
    batch: Mapping[str, jax.ShapeDtypeStruct] = dataclasses.field(default_factory=dict)
    flops: Callable[[], StepFlops] | None = None
    traffic: float = 0.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class TrainState:
    """State after `step` steps.

    Attributes:
      step: int32, steps taken, skipped ones included; also the index of the next batch.
      params: trainable parameters, nested dict, float32.
      buffers: what learns without gradients (codebooks), nested dict.
      ema_params: moving average of `params`; an empty dict where it is turned off.
      opt_state: optax state.
      loss_scale: for float16.
      skipped: int32, updates skipped because the loss or a gradient was not finite.
      skipped_in_a_row: int32, the present run of them; overflows that the loss scale can still absorb don't count.
      frozen: parameters beside `params` that stay as they are (`modules.Functional.frozen`): in no checkpoint.
    """

    step: jax.Array
    params: dict[str, Any]
    buffers: dict[str, Any]
    ema_params: dict[str, Any]
    opt_state: Any
    loss_scale: precision.LossScale
    skipped: jax.Array
    skipped_in_a_row: jax.Array
    frozen: dict[str, Any] = dataclasses.field(default_factory=dict)

    def inference_params(self) -> dict[str, Any]:
        """The parameters to evaluate and sample with: the moving average where there is one."""
        return self.ema_params or self.params


def initial_state(
    task: Task,
    training: config.TrainingConfig,
    tx: optax.GradientTransformation,
    mesh: jax.sharding.Mesh,
) -> TrainState:
    """Fresh state, created sharded: no array is ever whole on one device of several. What is frozen is for the caller
    to add."""
    build = _builder(task, training, tx)
    shardings = state_shardings(jax.eval_shape(build), task, mesh)
    if mesh.size == 1:
        # Nothing to divide, and draws compiled one by one are shared between parameters of one shape: the three-tier
        # VQ-VAE starts in 5 s instead of 20.
        return jax.device_put(build(), shardings)
    with jax.set_mesh(mesh):
        return jax.jit(build, out_shardings=shardings)()


def abstract_state(
    task: Task,
    training: config.TrainingConfig,
    tx: optax.GradientTransformation,
    mesh: jax.sharding.Mesh,
) -> TrainState:
    """`initial_state` as ShapeDtypeStructs with shardings: what to restore into, without allocating a second state."""
    shapes = jax.eval_shape(_builder(task, training, tx))
    shapes = dataclasses.replace(shapes, frozen=dict(task.functional.frozen))
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        state_shardings(shapes, task, mesh),
    )


def _builder(task: Task, training: config.TrainingConfig, tx: optax.GradientTransformation) -> Callable[[], TrainState]:
    def build() -> TrainState:
        params, buffers = task.functional.init(rng.key(training.seed, "init"))
        return TrainState(
            step=jnp.int32(0),
            params=params,
            buffers=buffers,
            # A copy: the step donates its input, and one buffer cannot be donated twice.
            ema_params=jax.tree.map(jnp.copy, params) if training.ema_decay else {},
            opt_state=tx.init(params),
            loss_scale=precision.initial_loss_scale(training.compute_dtype),
            skipped=jnp.int32(0),
            skipped_in_a_row=jnp.int32(0),
        )

    return build


def state_shardings(abstract: TrainState, task: Task, mesh: jax.sharding.Mesh) -> TrainState:
    """NamedSharding of every leaf of a state; what an optimizer keeps of a parameter lies as the parameter does."""
    params, buffers = task.functional.shardings(task.axis_rules, mesh)
    replicated = jax.sharding.NamedSharding(mesh, jax.P())
    of_params = jax.tree.map(lambda leaf, sharding: (leaf.shape, sharding), abstract.params, params)
    by_path = dict(jax.tree_util.tree_leaves_with_path(of_params, is_leaf=lambda x: isinstance(x, tuple)))

    def sharding_of(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.sharding.NamedSharding:
        # The longest suffix that names a parameter: .mu["upsampler"]["codes"] is not of the parameter "codes".
        owners = (by_path[path[start:]] for start in range(len(path)) if path[start:] in by_path)
        shape, sharding = next(owners, ((), replicated))
        return _as_parameter(leaf.shape, shape, sharding) or replicated

    opt_state = jax.tree_util.tree_map_with_path(sharding_of, abstract.opt_state)
    return TrainState(
        step=replicated,
        params=params,
        buffers=buffers,
        ema_params=params if abstract.ema_params else {},
        opt_state=opt_state,
        loss_scale=jax.tree.map(lambda _: replicated, abstract.loss_scale),
        skipped=replicated,
        skipped_in_a_row=replicated,
        frozen=task.functional.frozen_shardings(task.axis_rules, mesh) if abstract.frozen else {},
    )


def _as_parameter(
    shape: tuple[int, ...], parameter: tuple[int, ...], sharding: jax.sharding.NamedSharding
) -> jax.sharding.NamedSharding | None:
    """Sharding of what an optimizer keeps of a parameter: a moment of its shape, or a mean over one of its axes
    (Adafactor's rows and columns; of a square matrix any of the two will do). None for another shape."""
    if shape == parameter:
        return sharding
    spec = (*sharding.spec, *(None,) * (len(parameter) - len(sharding.spec)))
    for axis in reversed(range(len(parameter))):
        if shape == parameter[:axis] + parameter[axis + 1 :]:
            return jax.sharding.NamedSharding(sharding.mesh, jax.P(*spec[:axis], *spec[axis + 1 :]))
    return None
