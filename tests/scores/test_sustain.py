"""The sustain pedal against a player who hears one event after the other."""

import numpy as np

from musicgen_jax.scores import sustain


def slow(onsets, ends, pitches, times, values, last):
    """Ends and whether each note remains, by walking through all events in order."""
    events = [(t, 0 if v >= 64 else 1, -1) for t, v in zip(times, values, strict=True)]
    events += [(t, 2, i) for i, t in enumerate(onsets)] + [(t, 3, i) for i, t in enumerate(ends)]
    final, remains, active, down = list(ends), [True] * len(ends), [], False
    for time, kind, index in sorted(events):
        if kind == 0:
            down = True
        elif kind == 1:
            down = False
            for note in [i for i in active if final[i] < time]:
                final[note] = time
                active.remove(note)
        elif kind == 2:
            if down:
                for note in [i for i in active if pitches[i] == pitches[index]]:
                    final[note] = time
                    remains[note] = onsets[note] < time
                    active.remove(note)
            active.append(index)
        elif not down and index in active:
            active.remove(index)
    for note in active:
        final[note] = last
    return np.array(final), np.array(remains)


def draw(seed: int, num_pitches: int, longest: int) -> tuple:
    rng = np.random.default_rng(seed)
    onsets = rng.integers(0, 300, 120).astype(float)
    ends = onsets + rng.integers(1, longest, 120)
    pitches = rng.integers(60, 60 + num_pitches, 120)
    order = np.lexsort((ends, pitches, onsets))
    times, values = rng.integers(0, 320, 25).astype(float), rng.integers(0, 128, 25)
    last = max(ends.max(), times.max())
    return onsets[order], ends[order], pitches[order], times, values, last


def test_as_event_by_event():
    for seed in range(100):
        case = draw(seed, (3, 40)[seed % 2], (8, 60)[seed % 4 // 2])
        ends, remain = sustain.extended(*case)
        wanted, remaining = slow(*case)
        np.testing.assert_array_equal(remain, remaining)
        np.testing.assert_array_equal(ends[remain], wanted[remaining])


def test_without_a_pedal_nothing_changes():
    onsets, ends, pitches, _, _, last = draw(0, 10, 10)
    for values in ([], [0, 63]):
        times = np.arange(len(values), dtype=float)
        found, remain = sustain.extended(onsets, ends, pitches, times, np.array(values, int), last)
        assert remain.all()
        np.testing.assert_array_equal(found, ends)


def test_a_known_case():
    onsets, ends = np.array([0.0, 1, 2, 5]), np.array([0.5, 1.5, 3, 6])
    pitches, times, values = np.array([60, 62, 60, 62]), np.array([0.2, 4, 5.5]), np.array([127, 0, 64])
    # 60 until it is struck again, 62 until the pedal comes up, 60 likewise, and the last as long as the pedal.
    found, remain = sustain.extended(onsets, ends, pitches, times, values, last=9.0)
    assert found.tolist() == [2, 4, 4, 9] and remain.all()
