import itertools

import numpy as np
import pytest

from musicgen_jax.sampling import windows

SIZES = [
    (num_codes, context, fraction, multiple)
    for num_codes, context, fraction, multiple in itertools.product(
        (1, 2, 7, 8, 9, 16, 31, 32, 33, 100, 101), (4, 8, 12, 32), (0.01, 0.25, 0.5, 0.7, 1.0), (1, 2, 4)
    )
    if context % multiple == 0
]


def test_every_code_is_sampled_once_and_in_order():
    for size in SIZES:
        num_codes, context, _, multiple = size
        plan = windows.plan(*size)
        sampled = []
        for window in plan:
            assert window.start % multiple == 0, size
            assert 0 <= window.known < window.stop <= context, size
            assert window.start >= 0, size
            # What is taken as known has been sampled, and nothing that has is sampled again.
            assert window.start + window.known == len(sampled), size
            sampled += range(window.start + window.known, window.start + window.stop)
        assert sampled == list(range(num_codes)), size


def test_codes_see_the_past_they_are_promised():
    for size in SIZES:
        _, context, fraction, multiple = size
        hop = max(int(fraction * context) // multiple, 1) * multiple
        for window in windows.plan(*size)[1:]:
            assert window.known >= context - hop, size


def test_the_last_window_is_full():
    for num_codes, context, fraction, multiple in SIZES:
        last = windows.plan(num_codes, context, fraction, multiple)[-1]
        if num_codes >= context:
            assert context - last.stop < multiple


def test_by_hand():
    assert windows.plan(10, 4, 0.5) == [
        windows.Window(0, 0, 4),
        windows.Window(2, 2, 4),
        windows.Window(4, 2, 4),
        windows.Window(6, 2, 4),
    ]
    assert windows.plan(9, 8, 1.0, multiple=4) == [windows.Window(0, 0, 8), windows.Window(4, 4, 5)]
    assert windows.plan(3, 8, 0.5) == [windows.Window(0, 0, 3)]


def test_a_prompt_is_not_sampled_and_counts_by_its_tail():
    for num_codes, context, fraction, multiple in SIZES:
        hop = max(int(fraction * context) // multiple, 1) * multiple
        for prompt in range(0, num_codes, multiple):
            plan = windows.plan(num_codes, context, fraction, multiple, prompt)
            sampled = [place for one in plan for place in range(one.kept_in_track.start, one.kept_in_track.stop)]
            assert sampled == list(range(prompt, num_codes))
            # Every window has seen at least context - hop codes, or all there are.
            assert all(window.known >= min(context - hop, window.start + window.known) for window in plan)
            assert all(window.start % multiple == 0 and window.known < window.stop <= context for window in plan)


def test_independent_windows_keep_the_same_codes_and_know_the_prompt_alone():
    for num_codes, context, fraction, multiple in SIZES:
        for prompt in range(0, num_codes, 4 * multiple):
            plan = windows.plan(num_codes, context, fraction, multiple, prompt)
            for before, window in zip(plan, windows.independent(plan, prompt), strict=True):
                assert window.kept_in_track == before.kept_in_track
                assert (window.start, window.stop) == (before.start, before.stop)
                assert window.start + window.known <= max(prompt, window.start)
                assert window.known + window.warm_up == before.known


@pytest.mark.parametrize(("num_codes", "fraction"), [(0, 0.5), (-3, 0.5), (5, 0.0), (5, 1.1), (5, np.nan)])
def test_bad_sizes(num_codes, fraction):
    with pytest.raises(ValueError, match="must be"):
        windows.plan(num_codes, 4, fraction)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("prompt", [1, 5, 12, 13, 40])
@pytest.mark.parametrize("multiple", [1, 4])
def test_the_first_window_has_seen_the_prompt(fraction, prompt, multiple):
    first = windows.plan(60, 12, fraction, multiple, prompt)[0]
    assert first.known >= min(prompt, 6)
    assert first.start + first.known == prompt
