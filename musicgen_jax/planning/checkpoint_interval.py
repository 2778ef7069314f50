"""How often to save, given how often chips fail."""

import math


def best_interval(checkpoint_seconds: float, failure_seconds: float) -> float:
    """Seconds of work between checkpoints that lose the least time (Daly 2006, equation 37; Young 1974 to first order).

    Args:
      checkpoint_seconds: by which one checkpoint holds up the run.
      failure_seconds: mean time between failures of the whole machine.
    """
    if checkpoint_seconds >= 2 * failure_seconds:
        return failure_seconds
    ratio = checkpoint_seconds / (2 * failure_seconds)
    first = math.sqrt(2 * checkpoint_seconds * failure_seconds)
    return first * (1 + math.sqrt(ratio) / 3 + ratio / 9) - checkpoint_seconds


def lost_share(interval: float, checkpoint_seconds: float, failure_seconds: float, restart_seconds: float) -> float:
    """Of all time, the part that checkpoints, repeated work and restarts take, to first order.

    Args:
      interval: seconds of work between checkpoints.
      checkpoint_seconds, failure_seconds: as in `best_interval`.
      restart_seconds: from a failure to the first new step.
    """
    return checkpoint_seconds / (interval + checkpoint_seconds) + (interval / 2 + restart_seconds) / failure_seconds
