"""What every config shares: the names of the tiers, the rule that a value must keep, what a checkpoint compares."""

from musicgen_jax.errors import UserError

TIERS = ("top", "middle", "bottom")  # coarse to fine: the order in which music is generated
TIER_ABOVE = {"top": None, "middle": "top", "bottom": "middle"}
UNKNOWN_LABEL = "unknown"

# Paths in a model's config. Checkpoints need not agree on levers: they change memory and speed, not the mathematics.
LEVERS = ("loss_chunk", "remat", "transformer/attention", "transformer/remat")
# Fields younger than some checkpoints, with the value that is meant where a checkpoint does not have them.
YOUNGER = {
    "label_dropout": 0.0,
    "quantization/activations": "float",
    "quantization/weights": "float",
    "transformer/beyond": "zero",
    "transformer/window": 0,
}


def require(condition: bool, message: str) -> None:
    """Raises UserError(message) unless `condition` holds."""
    if not condition:
        raise UserError(message)
