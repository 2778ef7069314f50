"""Embeddings that cannot be had are refused by name, before any work."""

import pytest

from musicgen_jax.evaluation.embeddings import choice


def test_in_the_order_in_which_they_are_asked_for():
    (found,) = choice.load(["log-mel-statistics"], None)
    assert (found.name, found.distance, found.dimensions) == ("log-mel-statistics", "FD-log-mel-statistics", 128)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([], "names none"),
        (
            ["clap"],
            "embeddings=clap: choose from log-mel-statistics, tokenizer-encoder, vggish:PATH, musicnn:PATH, enco",
        ),
        (["musicnn"], "say where its weights are, musicnn:PATH"),
        (["log-mel-statistics:x"], "has no weights in a file"),
        (["log-mel-statistics", "log-mel-statistics"], "log-mel-statistics is there twice"),
        (["musicnn:/nonexistent"], "no such file.*make embeddings"),
        (["musicnn:gs://bucket/MTT_musicnn"], "gs://bucket/MTT_musicnn"),
        (["vggish:/nonexistent.pth"], "no such file: /nonexistent.pth"),
    ],
)
def test_refused(choices, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        choice.load(choices, None)
