"""The sustain pedal: notes go on sounding while it is down, until their key is struck again."""

import numpy as np

CONTROL = 64  # the MIDI controller of the pedal
DOWN = 64  # values from here on


def extended(
    onsets: np.ndarray,
    ends: np.ndarray,
    pitches: np.ndarray,
    times: np.ndarray,
    values: np.ndarray,
    last: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of notes under a pedal, as note-seq's `apply_sustain_control_changes` defines them.

    A note that ends while the pedal is down goes on until the pedal comes up, or until its key is struck again. A key
    that is struck while the pedal is down ends all notes of its pitch; a note that this leaves no time goes. At one
    moment the pedal moves before keys do, and goes down before it comes up.

    Args:
      onsets: float64 [N], in whatever unit of time, in order; where several are equal, in order of the ends.
      ends: float64 [N].
      pitches: [N].
      times: [P], of each word on the pedal, any order.
      values: [P], 64 and more is down.
      last: when a pedal that never comes up lets go.

    Returns:
      The ends, float64 [N], and which notes remain, bool [N].
    """
    if not (values >= DOWN).any():
        return ends, np.ones(len(ends), bool)
    order = np.lexsort((values < DOWN, times))
    times, down = times[order], values[order] >= DOWN
    ups = np.append(times[~down], last)
    struck_down, ended_down = _is_down(onsets, times, down), _is_down(ends, times, down)
    next_up = ups[np.minimum(np.searchsorted(times[~down], ends, side="right"), len(ups) - 1)]
    order = np.argsort(pitches.astype(np.int16), kind="stable")  # strikes of each pitch one after the other
    onset, end, pitch = onsets[order], ends[order], pitches[order]
    count = len(order)
    strikes = np.where(struck_down[order], np.arange(count), count)
    following = np.append(np.minimum.accumulate(strikes[::-1])[::-1][1:], count)  # the next strike under the pedal
    again = following < count
    again[again] = pitch[following[again]] == pitch[again]
    struck = np.where(again, onset[np.minimum(following, count - 1)], np.inf)
    held = np.where(ended_down[order], np.minimum(struck, np.maximum(next_up[order], end)), end)
    final, remains = np.empty(count), np.empty(count, bool)
    final[order] = np.where(struck <= end, struck, held)
    remains[order] = struck > onset
    return final, remains


def _is_down(moments: np.ndarray, times: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Whether the pedal is down at each moment, what moves it at that moment included."""
    index = np.searchsorted(times, moments, side="right") - 1
    return (index >= 0) & down[np.maximum(index, 0)]
