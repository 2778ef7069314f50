"""webMUSHRA: what is exported loads, what it writes is read, and the traps of its files are seen."""

import csv
import dataclasses
import io
import pathlib

import fuzzing
import pytest
import tiny_studies
import yaml

from musicgen_jax.listening import analysis, imported, preparation, study, webmushra
from musicgen_jax.listening.ratings import Discrimination, Rating
from musicgen_jax.runtime.errors import NotFoundError, UserError

TITLE = 'Which one: "new" # or old? - ü 🎵 \\ \x7f'
COLUMNS = {
    "mushra": ("session_uuid", "trial_id", "rating_stimulus", "rating_score", "rating_time", "rating_comment"),
    "lss": ("trial_id", "stimuli_rating", "stimuli", "rating_time"),
    "paired_comparison": (
        *("trial_id", "choice_reference", "choice_non_reference", "choice_answer", "choice_time", "choice_comment"),
    ),
    "bs1116": (
        *("trial_id", "rating_reference", "rating_non_reference", "rating_reference_score"),
        *("rating_non_reference_score", "rating_time", "choice_comment"),
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tiny_studies.write_clips(tmp_path_factory.mktemp("clips"))


def prepared(folders, folder, design):
    settings = tiny_studies.settings(folders, design)
    return preparation.prepare(dataclasses.replace(settings, title=TITLE), str(folder), 1)


def results(path, kind, rows, who=("listener",)):
    """A file as the service of webMUSHRA writes it: columns of the questionnaire before those of the kind."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("session_test_id", *who, *COLUMNS[kind]))
    writer.writerows(("my_test", *row) for row in rows)
    path.write_text(text.getvalue(), encoding="utf-8")
    return str(path)


def of_import(folder):
    return imported.read(folder).answers


@pytest.mark.parametrize(
    ("design", "kind"), [("mushra", "mushra"), ("mos", "likert_single_stimulus"), ("abx", "paired_comparison")]
)
def test_exported_experiments_load(folders, tmp_path, design, kind):
    made = prepared(folders, tmp_path / "study", design)
    path = webmushra.export_study(str(tmp_path / "study"), str(tmp_path / "my test"))
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert loaded["testname"] == TITLE and loaded["remoteService"] == "service/write.php"
    assert loaded["bufferSize"] in [2**n for n in range(8, 15)]
    welcome, (shuffled, *trials), finish = loaded["pages"]
    assert (welcome["type"], shuffled, finish["type"], finish["writeResults"]) == ("generic", "random", "finish", True)
    assert finish["questionnaire"], "by which listeners are told apart"
    assert [page["type"] for page in trials] == [kind] * len(trials)
    assert [page["id"] for page in trials] == [one.id for one in made.trials if one.kind == study.TEST]
    assert len({page["id"] for page in trials}) == len(trials)
    for page in trials:
        for name in (page.get("reference"), *page["stimuli"].values()):
            assert name is None or (tmp_path / name.replace("configs/", "")).is_file()
    if design == "mushra":
        assert all(list(page["stimuli"]) == ["good", "bad", "anchor35", "anchor70"] for page in trials)
        assert not any(page["createAnchor35"] or page["createAnchor70"] for page in trials)
    if design == "mushra":
        assert all(page["strict"] for page in trials)
    if design == "mos":
        assert [one["value"] for one in trials[0]["response"]] == ["5", "4", "3", "2", "1"]
        assert all(page["mustRate"] for page in trials)


@pytest.mark.parametrize("limit", ["MAX_SECONDS", "MAX_CONDITIONS"])
def test_what_a_strict_page_would_refuse_is_not_strict(folders, tmp_path, monkeypatch, limit):
    prepared(folders, tmp_path / "study", "mushra")
    monkeypatch.setattr(webmushra, limit, 0.1)
    loaded = yaml.safe_load(webmushra.export_study(str(tmp_path / "study"), str(tmp_path / "out")).read_text())
    assert not any(page["strict"] for page in loaded["pages"][1][1:])


def test_preferences_are_refused_and_nothing_is_overwritten(folders, tmp_path):
    prepared(folders, tmp_path / "study", "ab")
    with pytest.raises(UserError, match="without a reference"):
        webmushra.export_study(str(tmp_path / "study"), str(tmp_path / "out"))
    prepared(folders, tmp_path / "other", "mushra")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        webmushra.export_study(str(tmp_path / "other"), str(tmp_path / "full"))


def test_answers_come_back_to_the_study(folders, tmp_path):
    made = prepared(folders, tmp_path / "study", "mushra")
    tests = [one for one in made.trials if one.kind == study.TEST]
    scores = {"reference": 100, "good": 80, "bad": 30, "anchor35": 10, "anchor70": 40}
    rows = [(who, f"uuid-{who}", one.id, name, score + place, 1500, "said \"hm\", then\nno more")
            for place, who in enumerate(("ann@example.org", "bob"))
            for one in tests for name, score in scores.items() if score + place <= 100]  # fmt: skip
    told = webmushra.import_results([results(tmp_path / "mushra.csv", "mushra", rows)], str(tmp_path / "study"))
    assert (told["listeners"], told["answers"], told["design"]) == (2, len(rows), "mushra")
    found = of_import(tmp_path / "study")
    assert {one.item for one in found} == {one.item for one in tests}, "items, not ids of trials"
    assert found[0].seconds == 1.5
    assert "ann" not in (tmp_path / "study" / imported.FILE_NAME).read_text()
    statistics = analysis.analyse(str(tmp_path / "study"))
    assert statistics["pairs"]["good vs bad"]["difference"]["mean"] == 50.0
    assert statistics["answers"]["listeners"] == 2


def test_abx_knows_which_system_was_the_reference(folders, tmp_path):
    made = prepared(folders, tmp_path / "study", "abx")
    trial = next(one for one in made.trials if one.kind == study.TEST)
    second = trial.stimuli[1].system
    rows = [
        ("ann", trial.id, "reference", second, "correct", 900, ""),
        ("bob", trial.id, "reference", second, "undecided", 900, ""),
    ]
    told = webmushra.import_results([results(tmp_path / "p.csv", "paired_comparison", rows)], str(tmp_path / "study"))
    (found,) = of_import(tmp_path / "study")
    assert isinstance(found, Discrimination) and found.correct
    assert (found.system_a, found.system_b, found.item) == (trial.stimuli[0].system, second, trial.item)
    assert "1 of 2 answers" in told["left_out"][0]
    assert "1 of 2 answers" in analysis.analyse(str(tmp_path / "study"))["absent"]["imported"]


def test_without_a_study(tmp_path):
    rows = [("ann", "trial1", " 4 ", "C1", 1000), ("ann", "trial1", " undefined ", "C2", 1000)]
    told = webmushra.import_results([results(tmp_path / "lss.csv", "lss", rows)], str(tmp_path / "new"))
    (found,) = of_import(tmp_path / "new")
    assert isinstance(found, Rating) and (found.item, found.system, found.score) == ("trial1", "C1", 4.0)
    assert len(told["left_out"]) == 1
    rows = [("ann", "t", "reference", "C1", "5.0", "3.2", 800, "")]
    webmushra.import_results([results(tmp_path / "bs1116.csv", "bs1116", rows)], str(tmp_path / "new"))
    assert {(one.system, one.score) for one in of_import(tmp_path / "new")} == {("reference", 5.0), ("C1", 3.2)}


def test_sliders_that_nobody_moved_are_doubted(tmp_path):
    rows = [("ann", "u1", trial, name, 100 if trial == "t1" else 60, 10, "")
            for trial in ("t1", "t2") for name in ("reference", "C1")]  # fmt: skip
    told = webmushra.import_results([results(tmp_path / "mushra.csv", "mushra", rows)], str(tmp_path / "new"))
    assert [one["item"] for one in told["doubts"]] == ["t1"]
    assert told["answers"] == 4


def text_file(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


HEAD = "session_test_id,name,trial_id,stimuli_rating,stimuli,rating_time\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 bytes|is empty"),
        ("a,b\n1,2\n", "no result file of webMUSHRA"),
        (HEAD + "t,ann,x,4,C1\n", r"row 2 has 5 columns and the first line 6: the questionnaire was changed"),
        (HEAD + "t,ann,x,not a lot,C1,10\n", "stimuli_rating is 'not a lot' and must be a number from 1 to 5"),
        (HEAD + "t,ann,x,nan,C1,10\n", "must be a number"),
        (HEAD + "t,ann,x,6,C1,10\n", "from 1 to 5"),
        (HEAD + "t,ann,x,4,,10\n", "stimuli is empty"),
        (HEAD + "t,ann,x,4,C1,soon\n", "rating_time is 'soon'"),
        (HEAD + "t,,x,4,C1,10\n", "nothing tells the listeners apart"),
        (HEAD + "t,ann,x,4,C1,10\nt,ann,x,5,C1,10\n", "more than once"),
        (HEAD.replace("stimuli_rating", "stimuli_rating1,stimuli_rating2") + "t,ann,x,4,4,C1,10\n", "several scales"),
        (HEAD + 't,"ann,x,4,C1,10\n', "no CSV"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_say_why_and_leave_nothing(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        webmushra.import_results([text_file(tmp_path / "lss.csv", text)], str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_files_of_one_study_only(folders, tmp_path):
    lss = results(tmp_path / "lss.csv", "lss", [("ann", "t", "4", "C1", 1)])
    mushra = results(tmp_path / "mushra.csv", "mushra", [("ann", "u", "t", "C1", 4, 1, "")])
    with pytest.raises(UserError, match=r"lss\.csv is of mos, .*mushra\.csv is of mushra"):
        webmushra.import_results([lss, mushra], str(tmp_path / "new"))
    prepared(folders, tmp_path / "study", "mushra")
    with pytest.raises(UserError, match="study is of mushra"):
        webmushra.import_results([lss], str(tmp_path / "study"))
    with pytest.raises(UserError, match="more than once"):
        webmushra.import_results([lss, lss], str(tmp_path / "new"))
    with pytest.raises(UserError, match="no file was passed"):
        webmushra.import_results([], str(tmp_path / "new"))
    with pytest.raises(NotFoundError):
        webmushra.import_results([str(tmp_path / "none.csv")], str(tmp_path / "new"))


def test_a_byte_order_mark_of_excel_is_no_column(tmp_path):
    path = text_file(tmp_path / "lss.csv", "\ufeff" + HEAD + "t,ann,x,4,C1,10\r\n")
    assert webmushra.import_results([path], str(tmp_path / "new"))["answers"] == 1


@pytest.mark.slow
def test_damaged_files(tmp_path):
    rows = [(who, "u" + who, "t", name, 60, 10, "so, so") for who in "ab" for name in ("reference", "C1")]
    whole = pathlib.Path(results(tmp_path / "mushra.csv", "mushra", rows)).read_text()
    inputs = [*fuzzing.hostile_text(whole, 0, 150), *fuzzing.mutations(whole.encode(), 1, 150)]

    def read(path):
        webmushra.import_results([str(path)], str(tmp_path / "new"))
        analysis.analyse(str(tmp_path / "new"))

    fuzzing.survey_file(tmp_path / "mushra.csv", read, iter(inputs))
