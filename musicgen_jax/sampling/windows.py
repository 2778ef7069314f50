"""Overlapping windows for music longer than a prior's context."""

import dataclasses

from musicgen_jax import config


@dataclasses.dataclass(frozen=True)
class Window:
    """Codes [start, start + context) of a track, of which [known, stop) are to be sampled.

    Attributes:
      start: position of the window's first code in the track.
      known: codes at the window's beginning that the prompt or earlier windows have given.
      stop: where sampling ends, counted in the window.
      warm_up: the first so many of the sampled codes are not kept: the window before has them too.
    """

    start: int
    known: int
    stop: int
    warm_up: int = 0

    @property
    def kept(self) -> slice:
        """The frames of the window whose codes are kept, counted from the window's first frame."""
        return slice(self.known + self.warm_up, self.stop)

    @property
    def kept_in_track(self) -> slice:
        """The frames whose codes are kept, counted from the track's first frame."""
        return slice(self.start + self.kept.start, self.start + self.kept.stop)


def plan(num_codes: int, context: int, hop_fraction: float, multiple: int = 1, prompt: int = 0) -> list[Window]:
    """Windows that cover `num_codes`, each new one moved on by about hop_fraction * context codes.

    Every code has seen at least (1 - hop_fraction) * context codes before it, or its whole past. The last window is
    moved back so that it is as full as the others. Of a prompt that is longer than a window, the tail counts: the
    first window has seen half a context of it, or all, whatever the hop.

    Args:
      num_codes: length of the track.
      context: codes of a window; a multiple of `multiple`.
      hop_fraction: in (0, 1]; rounded to whole multiples, at least one.
      multiple: window starts are multiples of it (the codes for one of the tier above).
      prompt: codes at the beginning that are known.

    Raises:
      UserError: nothing is left to sample, or hop_fraction out of range.
    """
    config.require(num_codes > prompt >= 0, f"{num_codes} codes, {prompt} of them known: must be at least 1 more")
    config.require(0 < hop_fraction <= 1, f"`hop_fraction`={hop_fraction}: must be in (0, 1]")
    hop = max(int(hop_fraction * context) // multiple, 1) * multiple
    # Rounded up to the multiple: the window may end behind the track, and `stop` takes that back.
    last_start = -(-max(num_codes - context, 0) // multiple) * multiple
    windows, done = [], prompt
    while done < num_codes:
        overlap = context - hop
        if not windows:
            overlap = max(overlap, min(context // 2, context - multiple))
        start = min(max(done - overlap, 0) // multiple * multiple, last_start)
        stop = min(context, num_codes - start)
        windows.append(Window(start, done - start, stop))
        done = start + stop
    return windows


def independent(windows: list[Window], prompt: int = 0) -> list[Window]:
    """The same windows, none of which waits for the one before it: what that would have told them they sample again.

    A code's random number depends on its place in the track alone, so two windows that sample the same stretch tend to
    agree on it more and more; the first keeps its codes, and the second goes on from its own version of them.
    """
    changed = []
    for window in windows:
        known = min(max(prompt - window.start, 0), window.known)
        changed.append(dataclasses.replace(window, known=known, warm_up=window.known - known))
    return changed
