"""Overlapping windows for music longer than a prior's context."""

import dataclasses

from musicgen_jax import config


@dataclasses.dataclass(frozen=True)
class Window:
    """Codes [start, start + context) of a track, of which [known, stop) are to be sampled.

    Attributes:
      start: position of the window's first code in the track.
      known: codes at the window's beginning that earlier windows have sampled.
      stop: where sampling ends, counted in the window.
    """

    start: int
    known: int
    stop: int


def plan(num_codes: int, context: int, hop_fraction: float, multiple: int = 1) -> list[Window]:
    """Windows that cover `num_codes`, each new one moved on by about hop_fraction * context codes.

    Every code but those of the first window sees at least (1 - hop_fraction) * context codes before it. The last
    window is moved back so that it is as full as the others.

    Args:
      num_codes: length of the track.
      context: codes of a window; a multiple of `multiple`.
      hop_fraction: in (0, 1].
      multiple: window starts are multiples of it (the codes for one of the tier above).

    Raises:
      ValueError: num_codes is not positive, or hop_fraction out of range.
    """
    config.require(num_codes > 0, f"{num_codes} codes to sample: must be at least 1")
    config.require(0 < hop_fraction <= 1, f"--hop_fraction={hop_fraction}: must be in (0, 1]")
    windows = [Window(0, 0, min(num_codes, context))]
    hop = max(int(hop_fraction * context) // multiple, 1) * multiple
    done = windows[0].stop
    while done < num_codes:
        # Rounded up to the multiple: the window may end behind the track, and `stop` takes that back.
        last_start = -(-max(num_codes - context, 0) // multiple) * multiple
        start = min(windows[-1].start + hop, last_start)
        stop = min(context, num_codes - start)
        windows.append(Window(start, done - start, stop))
        done = start + stop
    return windows
