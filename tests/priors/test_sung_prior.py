"""A prior that is told the lyrics learns codes that only the words and their times know."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny_runs
import tiny_songs

STEPS = 150


@pytest.mark.slow
@pytest.mark.parametrize("aligned", [False, True])
def test_it_learns_what_only_the_words_know(aligned):
    """At best a code costs log 3 = 1.10 nats: 1.26 is measured where attention has to find the words, 1.10 where each
    frame is told its own; 2.0 told no words, and 4.3 or 7.3 told those of another song."""
    model = dataclasses.replace(tiny_songs.MODEL, lyrics_aligned=aligned)
    task, params = tiny_songs.trained(model, STEPS)
    bound = task.functional.bind(params, {})
    loss = jax.jit(lambda batch: task.loss(bound, batch, None, False)[0])
    right = tiny_songs.batch(model, 1000)
    others = right | {name: np.roll(right[name], 1, axis=0) for name in ("lyrics", "lyric_times")}
    nothing = right | {"worded": np.zeros(tiny_runs.BATCH_SIZE, bool)}
    found = [float(loss(one)) for one in (right, nothing, others)]
    assert found[0] < 1.3 < 1.5 < found[1] < found[2]
