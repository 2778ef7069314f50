"""Labels, times, codes and characters that a published prior has no row for."""

import jax
import jukebox_models
import numpy as np
import pytest

from musicgen_jax.priors import jukebox_batch


@pytest.mark.parametrize(
    ("kind", "name", "value", "rule"),
    [
        ("5b", "artist", 5, r"'artist'\] holds 5: must be from 0 to 4"),
        ("5b", "artist", -1, r"'artist'\] holds -1"),
        ("5b", "genres", 7, r"'genres'\] holds 7: must be from -1 to 6"),
        ("5b", "genres", -2, r"'genres'\] holds -2"),
        ("5b", "total", 1499, r"'total'\] holds 1499: must be from 1500 to 39999"),
        ("5b", "total", 40000, r"'total'\] holds 40000"),
        ("5b", "offset", -1, r"'offset'\] holds -1: must be a sample of the track"),
        ("5b", "offset", 39999, r"'offset'\] holds 39999"),
        ("5b", "length", 0, r"'length'\] holds 0: must be at least 1"),
        ("5b", "length", 23001, r"'length'\] holds 23001"),
        ("5b", "codes", 11, r"'codes'\] holds 11: must be from 0 to 10"),
        ("upsampler_middle", "above", -1, r"'above'\] holds -1: must be from 0 to 10"),
        ("1b_lyrics", "lyrics", 9, r"'lyrics'\] holds 9: must be from 0 to 8"),
    ],
)
def test_what_is_out_of_range_is_refused(kind, name, value, rule):
    settings = jukebox_models.model_config(kind)
    batch = jukebox_models.batch_of(settings)
    jukebox_batch.check(settings, batch)
    batch[name].flat[-1] = value
    with pytest.raises(ValueError, match=rule):
        jukebox_batch.check(settings, batch)


def test_a_prior_looks_at_its_batch():
    model = jukebox_models.Model(jukebox_models.model_config("5b", num_layers=1))
    batch = jukebox_models.batch_of(model.config)
    batch["artist"][0] = 5
    with pytest.raises(ValueError, match="'artist'"):
        model.functional.bind(model.params, {}).condition(batch)


@pytest.mark.parametrize("name", ["artist", "genres", "total", "offset"])
def test_in_a_traced_program_it_is_no_other_label(name):
    model = jukebox_models.cached("5b")
    batch = jukebox_models.batch_of(model.config)
    run = jax.jit(lambda params, batch: model.functional.bind(params, {}).condition(batch))
    wrong = batch | {name: batch[name] + {"artist": 5, "genres": 7, "total": 40000, "offset": -20000}[name]}
    for given, finite in ((batch, True), (wrong, False)):
        condition = run(model.params, given)
        assert np.isfinite(condition.start).all() & np.isfinite(condition.added).all() == finite
