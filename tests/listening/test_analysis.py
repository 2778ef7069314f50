"""The analysis of whole studies: all designs, the bytes, the page, and studies of which little can be said."""

import contextlib
import json
import pathlib
import re
import xml.dom.minidom

import fuzzing
import numpy as np
import pytest
import tiny_studies

from musicgen_jax.listening import analysis, imported, preparation, storage, study
from musicgen_jax.listening.imported import Imported
from musicgen_jax.listening.ratings import Choice, Discrimination, Rating
from musicgen_jax.runtime.errors import NotFoundError, UserError

TRUE_SCORES = {"good & <new>": 75.0, "bad": 50.0, "reference": 97.0, "anchor35": 20.0, "anchor70": 45.0}


def ratings(num_listeners=12, num_items=5, scores=TRUE_SCORES):
    """Of listeners who differ by 6 points of 100, and items by 4."""
    rng = np.random.default_rng(0)
    strict, hard = rng.normal(0, 6, num_listeners), rng.normal(0, 4, num_items)

    def score(name, mean, listener, item):
        shift, deviation = (0.0, 1.0) if name == "reference" else (strict[listener] + hard[item], 5.0)
        return round(float(np.clip(mean + shift + rng.normal(0, deviation), 0, 100)), 3)

    return tuple(
        Rating(f"l{n:02}", f"i{m}", name, score(name, mean, n, m), 2.0)
        for n in range(num_listeners)
        for m in range(num_items)
        for name, mean in scores.items()
    )


def analysed(folder, design, answers):
    imported.write(folder, Imported(design, tuple(answers), ()))
    return analysis.analyse(str(folder))


def test_mushra(tmp_path):
    found = analysed(tmp_path, "mushra", ratings())
    assert found == json.loads((tmp_path / "statistics.json").read_text())
    assert list(found["systems"]) == ["bad", "good & <new>", "reference", "anchor35", "anchor70"]
    better = found["systems"]["good & <new>"]
    assert better["low"] < 75 < better["high"]
    assert better["quartile_1"] <= better["median"] <= better["quartile_3"]
    pair = found["pairs"]["bad vs good & <new>"]
    assert pair["difference"]["low"] < -25 < pair["difference"]["high"] < 0
    assert pair["wilcoxon"]["p_holm"] < 0.01 and pair["wilcoxon"]["p"] <= pair["wilcoxon"]["p_holm"]
    assert pair["wilcoxon"]["high"] < 0
    assert set(found["pairs"]) == {"bad vs good & <new>", "good & <new> vs reference", "bad vs reference"}
    assert found["friedman"]["p"] < 0.01
    assert 0.8 < found["agreement"]["krippendorff_alpha_interval"] < 1
    needed = found["power"]["listeners_needed"]
    assert needed["20"] <= needed["10"]
    assert not any(one["excluded"] for one in found["screening"].values())
    assert found["absent"] == {}


def test_who_misses_the_hidden_reference_does_not_count(tmp_path):
    whole = analysed(tmp_path, "mushra", ratings())
    careless = [Rating("zzz", f"i{n}", name, 80.0 + n, 1.0) for n in range(5) for name in TRUE_SCORES]
    found = analysed(tmp_path, "mushra", [*ratings(), *careless])
    assert "hidden reference" in found["screening"]["zzz"]["excluded"]
    assert found["systems"] == whole["systems"] and found["pairs"] == whole["pairs"]
    assert found["answers"]["listeners"] == 13


def test_mos(tmp_path):
    scores = {"codec": 4.0, "ddsp": 2.5}
    opinions = [Rating(one.listener, one.item, one.system, 1 + one.score / 25, 2.0)
                for one in ratings(scores={name: (mean - 1) * 25 for name, mean in scores.items()})]  # fmt: skip
    found = analysed(tmp_path, "mos", opinions)
    for name, mean in scores.items():
        assert found["systems"][name]["low"] < mean < found["systems"][name]["high"]
    assert "screening" not in found
    assert set(found["absent"]) == {"friedman"}


def test_preferences_and_abx(tmp_path):
    choices = [Choice(f"l{n}", f"i{m}", "A", "B", "first" if m else "none", 1.0) for n in range(6) for m in range(4)]
    found = analysed(tmp_path, "ab", choices)
    assert found["pairs"]["A vs B"]["share"]["mean"] == 0.875
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"shares.svg"}
    heard = [Discrimination(f"l{n}", f"i{m}", "A", "B", m > 0, 1.0) for n in range(6) for m in range(4)]
    assert analysed(tmp_path, "abx", heard)["pairs"]["A vs B"]["correct"] == 18
    assert "Each listener" in (tmp_path / "statistics.html").read_text()


def test_same_answers_same_bytes_and_a_page_that_loads_nothing(tmp_path):
    analysed(tmp_path, "mushra", ratings())
    written = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert {path.name for path in written} >= {"statistics.json", "statistics.html", "systems.svg", "differences.svg"}
    analysis.analyse(str(tmp_path))
    assert written == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    page = (tmp_path / "statistics.html").read_text()
    assert "good &amp; &lt;new&gt;" in page and "<new>" not in page and not re.search(r"\$[a-z]", page)
    assert all(link.startswith(("#", "data:")) for link in re.findall(r'(?:src|href)="([^"]*)"', page))
    for path in (tmp_path / "plots").iterdir():
        xml.dom.minidom.parse(str(path))


SMALL = {
    "one listener": (ratings(1), {"systems.bad.interval": "one listener", "friedman": "two"}),
    "one item": (ratings(12, 1), {}),
    "all ties": (
        [Rating(f"l{n // 2}", f"i{n % 2}", name, 95.0, 1.0) for n in range(6) for name in ("A", "B", "reference")],
        {"systems.A.interval": "equal", "pairs.A vs B.wilcoxon": "ties", "friedman": "alike", "power": "equal"},
    ),
    "nobody passes": (
        [Rating(f"l{n}", "i", name, 50.0 + n, 1.0) for n in range(3) for name in ("A", "B", "reference")],
        {"screening": "left none of 3", "systems.A": "no answers"},
    ),
    "nothing in common": (
        [Rating("l1", "i1", "A", 50.0, 1.0), Rating("l2", "i2", "B", 60.0, 1.0), Rating("l3", "i1", "A", 55.0, 1.0)],
        {"pairs.A vs B.difference": "no answers", "power": "same listeners", "screening.reference": "no hidden"},
    ),
    "half of a study": (ratings()[: len(ratings()) // 2 - 3], {}),
    "nobody": ([], {"answers": "nobody has answered", "friedman": "three"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_what_can_be_computed_is_written_and_what_cannot_says_why(tmp_path, name):
    answers, reasons = SMALL[name]
    found = analysed(tmp_path, "mushra", answers)
    for path, reason in reasons.items():
        assert reason in found["absent"][path]
    for numbers in (found["systems"], found.get("pairs", {})):
        assert "NaN" not in json.dumps(numbers)
    page = (tmp_path / "statistics.html").read_text()
    assert all(path in page for path in reasons)
    if name == "one item":
        assert found["systems"]["bad"]["low"] < found["systems"]["bad"]["mean"]


def test_a_study_that_listeners_answered(tmp_path):
    folders = tiny_studies.write_clips(tmp_path / "clips")
    folder = tmp_path / "study"
    made = preparation.prepare(tiny_studies.settings(folders, "mushra"), str(folder), 3)
    with contextlib.closing(storage.Database(folder)) as database:
        for listener in database.listeners():
            pages = list(enumerate(listener.pages))[: None if listener.number else -2]  # one stopped early
            answers = [(number, tiny_studies.right_answer(made, page) | {"seconds": 2.5}) for number, page in pages]
            database.store([storage.StoredAnswer(listener.number, *one) for one in answers])
    found = analysis.analyse(str(folder))
    assert found["title"] == made.title and found["compared"] == ["good", "bad"]
    assert found["answers"]["listeners"] == 3
    assert found["answers"]["given"] + found["answers"]["missing"] == 3 * 3 * 5
    assert found["answers"]["missing"] == 5
    assert found["checks"]["listener002"]["attentive"] and not found["doubts"]
    assert found["pairs"]["good vs bad"]["difference"]["mean"] == 60.0


def test_folders_that_hold_no_study(tmp_path):
    with pytest.raises(NotFoundError):
        analysis.analyse(str(tmp_path))
    (tmp_path / study.FILE_NAME).write_text('{"format": 1')
    with pytest.raises(UserError, match="damaged"):
        analysis.analyse(str(tmp_path))
    (tmp_path / study.FILE_NAME).unlink()
    path = pathlib.Path(tmp_path) / imported.FILE_NAME
    for text in (
        '{"format": 9}',
        '{"format": 1, "design": "ab", "answers": [{"kind": "rating"}]}',
        '{"format": 1, "answers": 3}',
    ):
        path.write_text(text)
        with pytest.raises(UserError, match="imported_answers"):
            analysis.analyse(str(tmp_path))
    for design in ("ab", "mos, mushra"):
        imported.write(tmp_path, Imported(design, ratings(1), ()))
        with pytest.raises(UserError, match="do not fit"):
            analysis.analyse(str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("design", ["mushra", "ab", "abx"])
def test_damaged_imports(tmp_path, design):
    answers = {
        "mushra": ratings(3, 2),
        "ab": [Choice(f"l{n}", "i", "A", "B", "first", 1.0) for n in range(3)],
        "abx": [Discrimination(f"l{n}", "i", "A", "B", n > 0, 1.0) for n in range(3)],
    }
    imported.write(tmp_path, Imported(design, tuple(answers[design]), ("x",)))
    path = tmp_path / imported.FILE_NAME
    fuzzing.survey_file(
        path, lambda path: analysis.analyse(str(path.parent)), fuzzing.json_mutations(path.read_text(), 0, 200)
    )
