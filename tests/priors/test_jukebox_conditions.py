"""Timing bins and label sums against plain Python, with the released ranges."""

import dataclasses
import fractions
import math

import jax
import jax.numpy as jnp
import jukebox_models
import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.conditions import labels, timing
from musicgen_jax.conversion import jukebox_prior
from musicgen_jax.nn import modules


def small() -> config.JukeboxPriorConfig:
    """The released 5b's ranges and bins at width 3; context 8."""
    released = jukebox_prior.RELEASED["5b"]
    transformer = dataclasses.replace(released.transformer, width=3)
    return dataclasses.replace(released, context=8, num_genres=4, num_artists=4, transformer=transformer)


def with_tables(module: type, tables: dict[str, np.ndarray]):
    """What a condition gives with these tables, compiled: a function of its batch."""
    functional = modules.Functional(lambda rngs: module(small(), rngs=rngs))
    tables = jax.tree.map(jnp.asarray, tables)
    run = jax.jit(lambda batch: functional.bind(tables, {})(batch))
    return lambda **batch: run({name: np.int32(value) for name, value in batch.items()})


def test_genre_words_are_summed_and_empty_places_count_nothing():
    tables = {"genre": np.float32(10 ** np.arange(4))[:, None] * np.ones(3, np.float32)}
    tables["artist"] = np.float32(0.1) * np.arange(4, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    start = with_tables(labels.StartLabels, tables)
    found = start(artist=[1, 2], genres=[[0, 2, -1, -1, -1], [3, 3, 1, -1, 0]]).start
    np.testing.assert_allclose(found[:, 0], [101.1, 2011.2], rtol=1e-6)


@pytest.fixture(scope="module")
def bins_of():
    """Timing whose tables tell which rows were added: in the axes total, absolute and relative."""
    one_hot = {name: np.zeros((128, 3), np.float32) for name in ("total", "absolute", "relative")}
    for axis, table in enumerate(one_hot.values()):
        table[:, axis] = np.arange(128.0)
    return with_tables(timing.SampleTiming, one_hot)


def exact_bins(total: int, offset: int, length: int) -> np.ndarray:
    """[T, 3] in rational arithmetic: total length, absolute and relative position.

    The relative positions of a window past the end are squeezed into the rest of the track.
    """
    rate = 44100
    start, end = fractions.Fraction(offset, total), min(fractions.Fraction(offset + length, total), 1)
    rows = []
    for t in range(8):
        share = fractions.Fraction(t, 8)
        absolute = (offset + length * share) / (600 * rate)
        shares = fractions.Fraction(total - 60 * rate, 540 * rate), absolute, start + (end - start) * share
        rows.append([min(math.floor(128 * value), 127) for value in shares])
    return np.array(rows)


@pytest.mark.parametrize(
    ("total", "offset"),
    [
        *((330, 0), (60, 0), (180, 100), (599, 570), (195, 150), (240, 225), (100, 90)),
        # Here a product with the rounded reciprocal of the range, which XLA would take for a division, is a bin low.
        *((9529734 / 44100, 0), (11018109 / 44100, 0)),
    ],
)
def test_timing_falls_into_the_right_bins(bins_of, total, offset):
    """Durations of whole seconds often lie on the edge of a bin."""
    total, offset, length = round(total * 44100), offset * 44100, 1048576
    found = bins_of(total=[total], offset=[offset], length=[length]).added
    np.testing.assert_array_equal(found[0], exact_bins(total, offset, length))


def test_only_the_middle_upsampler_scales_its_residual_blocks():
    """With the same weights, the two upsamplers differ; a factor on the blocks' last convolution makes up for it."""
    middle, bottom = (jukebox_models.cached(f"upsampler_{tier}") for tier in ("middle", "bottom"))
    batch = jukebox_models.batch_of(middle.config)

    def compiled(model):
        run = jax.jit(lambda params: model.functional.bind(params, {}).conditions["above"](batch).added)
        return lambda params: np.asarray(run(params))

    of_middle, of_bottom = compiled(middle), compiled(bottom)
    scaled, plain = of_middle(middle.params), of_bottom(middle.params)
    assert np.abs(scaled - plain).max() > 0.1

    def shrink(path, leaf):
        keys = [key.key for key in path]
        return leaf / 2 if keys[0] == "upsampler" and "stacks" in keys and "project" in keys else leaf

    shrunk = jax.tree_util.tree_map_with_path(shrink, middle.params)
    np.testing.assert_allclose(of_bottom(shrunk), scaled, atol=1e-5)
