"""What every config shares: the names of the tiers, the rule that a value must keep, what a checkpoint compares."""

from musicgen_jax.runtime.errors import UserError

TIERS = ("top", "middle", "bottom")  # coarse to fine: the order in which music is generated
TIER_ABOVE = {"top": None, "middle": "top", "bottom": "middle"}
UNKNOWN_LABEL = "unknown"

# Paths in a model's config. Checkpoints need not agree on levers: they change memory and speed, not the mathematics.
LEVERS = ("loss_chunk", "remat", "transformer/attention", "transformer/remat")
# Fields younger than some checkpoints, with the value that is meant where a checkpoint does not have them.
YOUNGER = {
    "above_dropout": 0.0,
    "label_dropout": 0.0,
    "quantization/activations": "float",
    "quantization/weights": "float",
    "quantizer/codebook_dropout": 0.0,
    "quantizer/num_codebooks": 1,
    "timing_dropout": 0.0,
    "transformer/beyond": "zero",
    "transformer/window": 0,
}


MAX_SEED = 2**32 - 1  # jax.random.key takes 32 bits of a seed: others would mean the same as some smaller one


def require_range(name: str, value: float, least: float, most: float) -> None:
    """Raises UserError unless least <= value <= most, as no NaN is; the most keeps a slip of the keyboard from
    filling the memory."""
    require(value >= least, f"{name}={value}: must be at least {least}")
    require(value <= most, f"{name}={value}: must be at most {most}")


def require(condition: bool, message: str) -> None:
    """Raises UserError(message) unless `condition` holds."""
    if not condition:
        raise UserError(message)
