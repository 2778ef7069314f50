"""A folder of converted checkpoints makes music like any other."""

import dataclasses

import numpy as np
import published_files
import pytest

from musicgen_jax import generation
from musicgen_jax.priors import jukebox_labels

pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return published_files.write_cascade(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def generator(folder):
    return generation.load(folder)


@pytest.mark.long
def test_words_and_numbers_are_the_same_labels(generator):
    asked = {"seconds": 0.05, "seed": 3, "total_seconds": 100.0}
    named = generator.generate(genre="Country Rock", artist="Alan Jackson", **asked)
    assert len(named) == 18 * 128 and np.isfinite(named).all()
    np.testing.assert_array_equal(generator.generate(genre="1 2", artist="3", **asked), named)
    assert np.any(generator.generate(**asked) != named)


def test_upsamplers_of_another_vocabulary_take_what_they_do_not_know_for_unknown(generator, monkeypatch, capsys):
    """As beside the 1b top prior, whose names and numbers are others than those of the upsamplers."""
    top = generator.priors["top"]
    sizes = {"genre": 3, "artist": 9}
    newer = jukebox_labels.Names({"artist": {"abba": 2}, "genre": {"disco": 1}}, sizes, many=False)
    monkeypatch.setitem(generator.priors, "top", dataclasses.replace(top, names=newer))
    request, *_ = generator.request(seconds=0.05, total_seconds=100.0, genre="Disco", artist="Abba")
    told = capsys.readouterr().err
    for tier in ("middle", "bottom"):
        assert f"note: the {tier} prior has no genre 'Disco', and is told none" in told
        assert f"note: the {tier} prior has no artist 'Abba', and is told none" in told
        size, model = {"codes": np.zeros((1, 128, 1), np.int32)}, generator.priors[tier].config
        size |= {"start": np.zeros(1, np.int32), "length": np.full(1, 10_000, np.int32)}
        batch = generator.priors[tier].told(size, [request.words_of(0)])
        assert batch["artist"] == 0 and batch["genres"].tolist() == [[0] + [-1] * (model.max_genres - 1)]
    generator.request(seconds=0.05, total_seconds=100.0, artist="8")
    assert "the bottom prior has no artist '8'" in capsys.readouterr().err
    with pytest.raises(ValueError, match="artist='Alan Jackson': no such artist"):  # that the top prior does not know
        generator.request(seconds=0.05, total_seconds=100.0, artist="Alan Jackson")


def test_words_that_no_prior_knows_are_refused(generator):
    prompt = np.zeros(4 * 128, np.float32)
    with pytest.raises(ValueError, match="artist='Abba': no such artist"):
        generator.request(prompt=prompt, mode="upsample", artist="Abba")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_seconds": 20.0}, "total_seconds=20: the published top prior is told lengths from 60 to 600 seconds"),
        ({"artist": "Alan Jakson"}, "did you mean alan_jackson"),
        ({"lyrics": "la la la"}, "none of the priors that are sampled hears lyrics"),
        ({"guidance": 2.0}, "guidance"),
        ({"cache_dtype": "int8"}, "cache_dtype=int8: the models of top, middle, bottom keep"),
    ],
)
def test_what_published_priors_cannot_do_is_said(generator, options, message):
    with pytest.raises(ValueError, match=message):
        generator.generate(seconds=0.05, **options)
