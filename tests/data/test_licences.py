"""What a licence asks, by its name."""

import pytest

from musicgen_jax.data import licences


@pytest.mark.parametrize(
    ("name", "clauses"),
    [
        ("CC-BY-4.0", set()),
        ("CC0-1.0", set()),
        ("CC-BY-NC-SA-4.0", {"non_commercial", "share_alike"}),
        (
            "Attribution-NonCommercial-NoDerivatives (aka Music Sharing) 3.0 International",
            {"non_commercial", "no_derivatives"},
        ),
        ("cc by-nc 3.0", {"non_commercial"}),
        ("Free for Non-Commercial use", {"non_commercial"}),
        ("Attribution Share Alike 2.0", {"share_alike"}),
        ("Attribution, No Derivatives", {"no_derivatives"}),
        ("Sound Recording Common Law Protection", set()),
        ("", set()),
    ],
)
def test_clauses(name, clauses):
    assert {clause for clause in licences.CLAUSES if licences.has_clause(name, clause)} == clauses


def test_nothing_is_said_where_nobody_knows_anything():
    assert licences.facts({}, ["", ""]) == {} and licences.messages({}) == []


def test_tracks_speak_for_themselves_before_the_data_set():
    found = licences.facts({"licence": "CC-BY-4.0", "licence_note": "of the collection"}, ["", "CC-BY-NC-4.0", ""])
    assert found["tracks"] == {"CC-BY-4.0": 2, "CC-BY-NC-4.0": 1} and found["non_commercial"] == ["CC-BY-NC-4.0"]
    lines = licences.messages(found)
    assert lines[0] == "licence: CC-BY-4.0 (2 tracks), CC-BY-NC-4.0 (1 tracks)" and lines[-1] == "of the collection"
