"""Scores that become recordings."""

import functools
import pickle

import numpy as np
import pytest
import tiny_scores

from musicgen_jax.data import preparation, rendering
from musicgen_jax.data.sources import lakh
from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

RATE = 8000


def test_tracks_take_the_timbres_by_turns_and_keep_what_they_are():
    tracks = tiny_scores.tracks(5)
    made = rendering.rendered(tracks, "synthesizer", RATE)
    assert [item.labels["genre"] for item in made] == ["organ", "flute", "strings", "voice", "organ"]
    assert len({item.hash for item in made} | {item.hash for item in tracks}) == 10
    for item, before in zip(made, tracks, strict=True):
        assert (item.track_id, item.group, item.split, item.score) == (
            before.track_id, before.group, before.split, before.score
        )  # fmt: skip
        assert (item.score_kind, item.channels, item.sample_rate) == ("exact", 1, RATE)
        assert item.labels["artist"] == before.labels["artist"]
    assert {item.labels["genre"] for item in rendering.rendered(tracks, "flute", RATE)} == {"flute"}


def test_the_sound_is_the_synthesizer_s_at_its_set_loudness():
    (item,) = rendering.rendered(tiny_scores.tracks(1), "flute", RATE)
    audio = np.concatenate(list(pickle.loads(pickle.dumps(item.blocks))()))
    assert audio.dtype == np.float32 and len(audio) == round(item.duration * RATE)
    assert np.sqrt(np.mean(audio**2)) == pytest.approx(synthesizer.TARGET_RMS, rel=1e-3)
    # The same notes in the same voices; only where a phase begins may differ.
    whole = synthesizer.render_score(item.score, timbres.FLUTE, RATE, item.duration)
    spectra = [np.abs(np.fft.rfft(one)) for one in (audio, whole)]
    assert np.corrcoef(*spectra)[0, 1] > 0.9


def test_a_score_that_is_still_in_its_file():
    calls = []
    score = tiny_scores.score(0)
    blocks = rendering.blocks(lambda: calls.append(1) or score, "organ", 2.0, RATE)
    assert not calls  # memory for one score at a time
    assert sum(map(len, blocks)) == 2 * RATE and calls == [1]


@pytest.mark.long
def test_other_timbres_are_another_data_set(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    midi.write(tmp_path / "in" / "a.mid", tiny_scores.score(1))
    settings = preparation.Settings("lakh", str(tmp_path / "in"), 8000, 0, options={"render": "voice"})
    assert list(settings.completed(lakh).to_dict()["digests"]) == ["render"]
    preparation.prepare(settings, lakh, str(tmp_path / "out"), 0)
    preparation.prepare(settings, lakh, str(tmp_path / "out"), 0)
    monkeypatch.setattr(timbres, "SINGING", timbres.SINGING + 1)
    with pytest.raises(UserError, match=r"made with other settings .*digests"):
        preparation.prepare(settings, lakh, str(tmp_path / "out"), 0)


def test_bad_input():
    with pytest.raises(UserError, match=r"render=harp: must be synthesizer .*, or one of organ, flute, strings, voice"):
        rendering.rendered([], "harp", RATE)
    high = functools.partial(Score, [[120, 0, 1, 90, 0]])
    with pytest.raises(UserError, match="pitch beyond the sample rate: MIDI 120 is 8372 Hz, too high for 8000 Hz"):
        next(rendering.blocks(high, "organ", 1.0, RATE))
