"""What to change when a run does not fit."""

import jax

from musicgen_jax import config
from musicgen_jax.planning import workload
from musicgen_jax.transformer import stack


def fsdp_sizes(num_chips: int, work: workload.Workload, mesh_config: config.MeshConfig) -> list[int]:
    """Sizes of the fsdp axis that divide the chips and, alone with `tensor`, every large parameter; largest first."""
    ways = num_chips // (mesh_config.replica * mesh_config.tensor)
    return [size for size in range(ways, 0, -1) if ways % size == 0 and _divides(work, size, mesh_config.tensor)]


def _divides(work: workload.Workload, fsdp: int, tensor: int) -> bool:
    sizes = {"replica": 1, "data": 1, "fsdp": fsdp, "tensor": tensor}
    mesh = jax.sharding.AbstractMesh(tuple(sizes.values()), tuple(sizes))
    try:
        work.task.functional.shardings(work.task.axis_rules, mesh)
    except ValueError:
        return False
    return True


def remedies(work: workload.Workload, mesh: jax.sharding.Mesh, larger_fsdp: int | None) -> list[str]:
    """Flags that lower the peak, those that cost least first.

    Args:
      work: what did not fit.
      mesh: on which.
      larger_fsdp: a size of the fsdp axis above the present one that is possible here, or None.
    """
    run, found = work.run, []
    if larger_fsdp:
        found.append(f"--config.mesh.fsdp={larger_fsdp}: parameters, gradients and optimizer in smaller parts")
    if run.transformer is not None:
        found += _prior_remedies(run)
    ways = mesh.size // mesh.shape["tensor"]
    micro = run.data.batch_size // run.training.accumulation_steps
    if micro > ways and run.data.batch_size % ways == 0:
        steps = run.data.batch_size // ways
        found.append(f"--config.training.accumulation_steps={steps}: one example a chip at a time, the same batch")
    if run.training.compute_dtype == "float32":
        found.append("--config.training.compute_dtype=bfloat16: half the activations")
    if run.optimizer.state_dtype == "float32":
        found.append("--config.optimizer.state_dtype=bfloat16: half the optimizer's state")
    if run.training.ema_decay:
        found.append("--config.training.ema_decay=0: no moving average, 4 bytes a parameter")
    if run.optimizer.name == "adamw":
        found.append("--config.optimizer.name=adafactor: no second moments")
    if run.transformer is not None and run.transformer.remat == "full":
        found.append("--config.model.transformer.remat=offload: block inputs in the host's memory, slower")
    return [*found, "a topology with more chips, or chips with more memory"]


def warnings(work: workload.Workload, mesh: jax.sharding.Mesh) -> list[str]:
    """Sentences on work that the mesh could divide among its devices but does not; the predicted time assumes that it
    does."""
    transformer = work.run.transformer
    return [] if transformer is None else stack.undivided(transformer, mesh)


def _prior_remedies(run: config.PriorTraining) -> list[str]:
    model, found = run.model, []
    if model.transformer.attention == "reference":
        found.append("--config.model.transformer.attention=blocked: memory linear in the context instead of quadratic")
    if model.transformer.remat in ("none", "dots"):
        found.append("--config.model.transformer.remat=full: only each block's input is kept")
    if model.loss_chunk == 0 or model.loss_chunk > 1024:
        found.append("--config.model.loss_chunk=1024: never all logits at once")
    if run.mesh.tensor > 1 and not run.shard_sequence:
        found.append("--config.shard_sequence=true: activations divided over tensor")
    return found
