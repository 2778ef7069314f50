"""What listeners answered comes out as what they heard, whatever the order in which they heard it."""

import collections
import contextlib
import sqlite3

import pytest
import tiny_studies

from musicgen_jax.listening import answers, preparation, storage, study
from musicgen_jax.listening.ratings import Choice, Discrimination, Rating
from musicgen_jax.runtime.errors import NotFoundError, UserError


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    return tiny_studies.write_clips(tmp_path_factory.mktemp("clips"))


def answered(folders, folder, design, listeners=3, change=lambda page, answer: answer) -> study.Study:
    """A study whose listeners have answered everything rightly, but for what change(page, answer) makes of it."""
    found = preparation.prepare(tiny_studies.settings(folders, design), str(folder), listeners)
    with contextlib.closing(storage.Database(folder)) as database:
        for listener in database.listeners():
            pages = enumerate(listener.pages)
            right = [
                (number, page, tiny_studies.right_answer(found, page) | {"seconds": 2.5}) for number, page in pages
            ]
            database.store([storage.StoredAnswer(listener.number, n, change(page, one)) for n, page, one in right])
    return found


def test_mushra(folders, tmp_path):
    answered(folders, tmp_path, "mushra")
    found = storage.results(tmp_path)
    assert all(isinstance(one, Rating) and one.seconds == 2.5 for one in found)
    assert collections.Counter((one.system, one.score) for one in found) == {
        ("reference", 100.0): 9,
        ("good", 80.0): 9,
        ("bad", 20.0): 9,
        ("anchor35", 20.0): 9,
        ("anchor70", 20.0): 9,
    }
    assert {one.listener for one in found} == {"listener001", "listener002", "listener003"}
    assert {one.item for one in found} == {"tune0", "tune1", "tune2"}


def test_mos(folders, tmp_path):
    answered(folders, tmp_path, "mos")
    assert collections.Counter((one.system, one.score) for one in storage.results(tmp_path)) == {
        ("good", 5.0): 9,
        ("bad", 1.0): 9,
    }


def test_ab(folders, tmp_path):
    answered(folders, tmp_path, "ab")
    found = storage.results(tmp_path)
    assert len(found) == 9 and all(isinstance(one, Choice) for one in found)
    assert {(one.first, one.chosen) for one in found} == {("good", "first"), ("bad", "second")}


def test_ab_without_a_preference(folders, tmp_path):
    answered(folders, tmp_path, "ab", 3, lambda _, answer: answer | {"choice": None} if "choice" in answer else answer)
    assert {one.chosen for one in storage.results(tmp_path)} == {"none"}


def test_abx(folders, tmp_path):
    answered(folders, tmp_path, "abx", listeners=4)
    found = storage.results(tmp_path)
    assert found[0] == Discrimination("listener001", found[0].item, "good", "bad", True, 2.5)
    assert len(found) == 12 and all(one.correct for one in found)


def test_abx_of_one_who_always_says_a(folders, tmp_path):
    answered(folders, tmp_path, "abx", 4, lambda _, answer: answer | {"choice": 0} if "choice" in answer else answer)
    assert collections.Counter(one.correct for one in storage.results(tmp_path)) == {True: 6, False: 6}


@pytest.mark.parametrize("design", study.DESIGNS)
def test_checks(folders, tmp_path, design):
    found = answered(folders, tmp_path / "right", design)
    passed = storage.checks(tmp_path / "right")
    assert len(passed) == 3
    assert all(one.attention == (1, 1) and one.headphones == (6, 6) for one in passed.values())
    assert all(one.attentive and one.on_headphones for one in passed.values())

    def spoil(page, answer):
        if "choice" in answer:
            return answer | {"choice": 1 - answer["choice"] if answer["choice"] < 2 else 0}
        return answer | {"scores": [3] * len(answer["scores"])} if "scores" in answer else answer

    answered(folders, tmp_path / "wrong", design, change=spoil)
    failed = storage.checks(tmp_path / "wrong")
    assert all(one.attention == (0, 1) and one.headphones == (0, 6) for one in failed.values())
    assert not any(one.attentive or one.on_headphones for one in failed.values())
    assert {trial.kind for trial in found.trials} == set(study.KINDS)


def test_links_are_added_and_none_changes(folders, tmp_path):
    found = preparation.prepare(tiny_studies.settings(folders, "ab"), str(tmp_path), 2)
    database = storage.Database(tmp_path)
    first = database.listeners()
    database.add_listeners(found, 1)
    database.add_listeners(found, 5)
    assert database.listeners()[:2] == first and len({one.token for one in database.listeners()}) == 5
    assert all(len(one.token) >= 32 for one in database.listeners())
    with pytest.raises(UserError, match="listeners=-1 must be 0 to"):
        database.add_listeners(found, -1)


def test_an_answer_is_stored_once(folders, tmp_path):
    preparation.prepare(tiny_studies.settings(folders, "ab"), str(tmp_path), 1)
    database = storage.Database(tmp_path)
    database.store([storage.StoredAnswer(0, 0, {"agreed": True, "seconds": 1.0})])
    with pytest.raises(UserError, match="UNIQUE"):
        database.store([storage.StoredAnswer(0, 1, {}), storage.StoredAnswer(0, 0, {})])
    assert [one.page for one in database.answers()] == [0], "a transaction is all or nothing"


def test_the_database_waits_for_the_disk(folders, tmp_path):
    preparation.prepare(tiny_studies.settings(folders, "ab"), str(tmp_path), 0)
    connection = storage.Database(tmp_path)._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_damage(folders, tmp_path):
    preparation.prepare(tiny_studies.settings(folders, "ab"), str(tmp_path), 1)
    with pytest.raises(NotFoundError, match=r"no answers.sqlite"):
        storage.Database(tmp_path / "audio")
    with contextlib.closing(sqlite3.connect(tmp_path / study.ANSWERS)) as connection, connection:
        connection.execute("UPDATE listeners SET pages = '[{}]'")
    with pytest.raises(UserError, match=r"answers.sqlite cannot be used"):
        storage.results(tmp_path)
    (tmp_path / study.ANSWERS).write_bytes(b"no database at all, but long enough to be taken for one" * 99)
    with pytest.raises(UserError, match=r"answers.sqlite cannot be used: file is not a database"):
        storage.results(tmp_path)


GOOD = {"mushra": b'{"scores": [0, 100, 50, 3, 4], "seconds": 1}', "mos": b'{"scores": [5], "seconds": 0.5}',
        "ab": b'{"choice": null, "seconds": 3}', "abx": b'{"choice": 1, "seconds": 3}'}  # fmt: skip
BAD = [b"", b"[]", b"nonsense", b"\xff", b"[" * 100_000, b'{"choice": 1}', b'{"choice": true, "seconds": 1}']
BAD += [b'{"choice": 2, "seconds": 1}', b'{"choice": 1.0, "seconds": 1}', b'{"scores": [6], "seconds": 1}']
BAD += [b'{"scores": [0], "seconds": 1}', b'{"scores": [1], "seconds": -1}', b'{"scores": [1], "seconds": NaN}']
BAD += [b'{"scores": [1], "seconds": 1e999}', b'{"scores": [1], "seconds": 1' + b"0" * 3000 + b"}"]
BAD += [
    b'{"scores": [1], "seconds": true}',
    b'{"scores": [1, 2, 3], "seconds": 1}',
    b'{"scores": "12345", "seconds": 1}',
]
BAD += [b'{"scores": [1, 2, 3, 4, 101], "seconds": 1}', b'{"scores": [1], "choice": 0, "seconds": 1}']
BAD += [b'{"scores": [null, 2, 3, 4, 5], "seconds": 1}', b'{"scores": [1, 2, 3, 4, 5.5], "seconds": 1}']


@pytest.mark.parametrize("design", GOOD)
def test_only_answers_that_fit_are_taken(folders, tmp_path, design):
    found = preparation.prepare(tiny_studies.settings(folders, design), str(tmp_path), 1)
    pages = storage.Database(tmp_path).listeners()[0].pages
    assert answers.parse(found, pages[-1], GOOD[design])["seconds"] >= 0.5
    assert answers.parse(found, pages[1], b'{"choice": 2, "seconds": 1}') == {"choice": 2, "seconds": 1.0}
    assert answers.parse(found, pages[0], b'{"agreed": true, "seconds": 1}')["agreed"] is True
    for body in BAD:
        with pytest.raises(UserError):
            answers.parse(found, pages[-1], body)
    for body in (b'{"agreed": 1, "seconds": 1}', b'{"agreed": false, "seconds": 1}', b'{"seconds": 1}'):
        with pytest.raises(UserError):
            answers.parse(found, pages[0], body)
