"""Config -> optax."""

import jax
import optax

from musicgen_jax import config


def make_schedule(optimizer: config.OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Learning rate after n updates: linear warm-up, then constant or cosine decay that ends at `num_steps`."""
    peak = optimizer.peak_learning_rate
    if optimizer.decay == "cosine":
        decay = optax.cosine_decay_schedule(peak, max(num_steps - optimizer.warmup_steps, 1), optimizer.final_fraction)
    else:
        decay = optax.constant_schedule(peak)
    if optimizer.warmup_steps == 0:
        return decay
    # Update n (from 0) uses (n + 1) / warmup_steps of the peak: the first update already moves.
    warmup = optax.linear_schedule(peak / optimizer.warmup_steps, peak, optimizer.warmup_steps - 1)
    return optax.join_schedules([warmup, decay], [optimizer.warmup_steps])


def decays(params: dict) -> dict:
    """True where weight decay applies: kernels and embedding tables, but no biases and no norm scales."""

    def is_matrix(path: tuple, _: jax.Array) -> bool:
        return path[-1].key not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(is_matrix, params)


def make_optimizer(
    optimizer: config.OptimizerConfig, num_steps: int, clipped_apart: tuple[str, ...] = ()
) -> optax.GradientTransformation:
    """Clipping by global norm, then AdamW (Loshchilov & Hutter 2019); all state float32.

    Args:
      optimizer: settings.
      num_steps: of the whole run, for the schedule.
      clipped_apart: top-level names of parameters that are clipped by their own norm each, and don't count in that of
        the rest.
    """
    adamw = optax.adamw(
        make_schedule(optimizer, num_steps),
        b1=optimizer.b1,
        b2=optimizer.b2,
        weight_decay=optimizer.weight_decay,
        mask=decays,
    )
    if optimizer.clip_norm == 0:
        return adamw
    return optax.chain(_clip(optimizer.clip_norm, clipped_apart), adamw)


def _clip(max_norm: float, apart: tuple[str, ...]) -> optax.GradientTransformation:
    if not apart:
        return optax.clip_by_global_norm(max_norm)

    def groups(params: dict) -> dict:
        return {name: name if name in apart else "rest" for name in params}

    return optax.partition({name: optax.clip_by_global_norm(max_norm) for name in (*apart, "rest")}, groups)
