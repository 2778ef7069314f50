"""Post-screening at its limits, and answers that look as if nobody had listened."""

import pytest

from musicgen_jax.listening import screening
from musicgen_jax.listening.ratings import Choice, Rating


def rated(listener, system, scores):
    return [Rating(listener, f"item{number}", system, score, 1.0) for number, score in enumerate(scores)]


@pytest.mark.parametrize(("low", "of", "excluded"), [(3, 20, False), (4, 20, True), (1, 6, True), (1, 7, False)])
def test_more_than_fifteen_percent_of_the_items(low, of, excluded):
    """3 of 20 are 15 %, which is not more."""
    found = screening.screen(rated("a", "reference", [89.0] * low + [90.0] * (of - low)))
    assert bool(found["a"]["excluded"]) == excluded
    assert found["a"]["reference_below_90"] == pytest.approx(low / of)
    found = screening.screen(
        rated("a", "anchor70", [91.0] * low + [90.0] * (of - low)) + rated("b", "anchor70", [40.0] * of)
    )
    assert bool(found["a"]["excluded"]) == excluded
    assert not found["b"]["excluded"]


def test_items_that_the_anchor_does_not_impair_do_not_count():
    quiet = [rated(name, "anchor70", [95.0, 30.0, 30.0]) for name in "abc"]
    found = screening.screen([rating for ratings in quiet for rating in ratings])
    assert [one["anchor70_above_90"] for one in found.values()] == [0.0, 0.0, 0.0]


def test_without_controls_nobody_is_excluded():
    found = screening.screen(rated("a", "codec", [50.0]))
    assert found == {"a": {"reference_below_90": None, "anchor70_above_90": None, "excluded": ""}}


def test_doubts():
    untouched = [Rating("a", "item", system, 100.0, 1.0) for system in ("codec", "reference")]
    same = rated("b", "codec", [50.0] * 6)
    one_sided = [Choice("c", f"item{number}", "x", "y", "second", 1.0) for number in range(6)]
    fair = rated("d", "codec", [50.0, 60.0, 50.0, 60.0, 50.0, 60.0]) + rated("d", "reference", [100.0])
    found = {
        (one["listener"], one["item"]): one["doubt"] for one in screening.doubts(untouched + same + one_sided + fair)
    }
    assert set(found) == {("a", "item"), ("b", ""), ("c", "")}
    assert "sliders" in found["a", "item"]
    assert "same rating" in found["b", ""]
    assert "'second' in all 6" in found["c", ""]
