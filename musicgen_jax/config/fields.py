"""What every config shares: the names of the tiers and the rule that a value must keep."""

TIERS = ("top", "middle", "bottom")  # coarse to fine: the order in which music is generated
TIER_ABOVE = {"top": None, "middle": "top", "bottom": "middle"}
UNKNOWN_LABEL = "unknown"


def require(condition: bool, message: str) -> None:
    """Raises ValueError(message) unless `condition` holds."""
    if not condition:
        raise ValueError(message)
