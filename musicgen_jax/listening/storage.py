"""answers.sqlite: listeners, their links, what they hear in which order, and their answers.

The database is in WAL mode with synchronous=FULL: when a transaction has been committed it is on disk, and outlives the
process and the machine (https://www.sqlite.org/pragma.html#pragma_synchronous). Answers are only ever added.
"""

import contextlib
import dataclasses
import json
import pathlib
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from musicgen_jax.listening import headphones, orders, study
from musicgen_jax.listening.ratings import Answer, Choice, Discrimination, Rating
from musicgen_jax.listening.study import ATTENTION, CHECK, TEST, Study, Trial
from musicgen_jax.runtime import files
from musicgen_jax.runtime.errors import NotFoundError, UserError

TOKEN_BYTES = 24  # of randomness in a link: nobody guesses it
MAX_LISTENERS = 10_000
CHOSEN = {0: "first", 1: "second", None: "none"}
_TABLES = """
CREATE TABLE listeners (number INTEGER PRIMARY KEY, token TEXT UNIQUE NOT NULL, pages TEXT NOT NULL);
CREATE TABLE answers (
  listener INTEGER NOT NULL REFERENCES listeners, page INTEGER NOT NULL, answer TEXT NOT NULL, stored_at TEXT NOT NULL,
  PRIMARY KEY (listener, page)
);
"""


@dataclasses.dataclass(frozen=True)
class Listener:
    """Someone who was given a link.

    Attributes:
      number: from 0.
      token: the unguessable part of the link.
      pages: that they go through, in order.
    """

    number: int
    token: str
    pages: tuple[orders.Page, ...]

    @property
    def name(self) -> str:
        """As the results have it, such as "listener003"."""
        return f"listener{self.number + 1:03d}"


@dataclasses.dataclass(frozen=True)
class StoredAnswer:
    """What a listener answered on a page: the object that the page sent, after `answers.check`."""

    listener: int
    page: int
    answer: dict[str, Any]


class Database:
    """An open answers.sqlite; used by one thread at a time."""

    def __init__(self, folder: str | pathlib.Path, create: bool = False) -> None:
        path = pathlib.Path(folder) / study.ANSWERS
        if not create and not path.is_file():
            raise NotFoundError(f"no {path.name} in {folder}: pass a folder that `listen --design=...` has finished")
        with _explained(path):
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute("PRAGMA fullfsync=ON")  # macOS: else the disk may keep it to itself for a while
            if create:
                self._connection.executescript(_TABLES)
        self._path = path

    def add_listeners(self, found: Study, number: int) -> None:
        """Makes links until there are `number` of them; those that there are stay."""
        if not 0 <= number <= MAX_LISTENERS:
            raise UserError(f"`listeners`={number} must be 0 to {MAX_LISTENERS}")
        rows = []
        for new in range(len(self.listeners()), number):
            pages = json.dumps([dataclasses.asdict(page) for page in orders.of(found, new)])
            rows.append((new, secrets.token_urlsafe(TOKEN_BYTES), pages))
        self._write("INSERT INTO listeners VALUES (?, ?, ?)", rows)

    def listeners(self) -> list[Listener]:
        """All of them, by number."""
        with _explained(self._path):
            rows = self._connection.execute("SELECT number, token, pages FROM listeners ORDER BY number").fetchall()
            return [Listener(number, token, _pages(pages)) for number, token, pages in rows]

    def store(self, stored: Sequence[StoredAnswer]) -> None:
        """Adds answers in one transaction; when this returns they are on disk."""
        rows = [(one.listener, one.page, json.dumps(one.answer)) for one in stored]
        self._write("INSERT INTO answers VALUES (?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))", rows)

    def answers(self) -> list[StoredAnswer]:
        """All of them, by listener and page."""
        with _explained(self._path):
            rows = self._connection.execute(
                "SELECT listener, page, answer FROM answers ORDER BY listener, page"
            ).fetchall()
            return [StoredAnswer(listener, page, json.loads(answer)) for listener, page, answer in rows]

    def close(self) -> None:
        """Closes it; nothing is lost without."""
        self._connection.close()

    def _write(self, statement: str, rows: list[tuple]) -> None:
        with _explained(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(statement, rows)
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a COMMIT that failed may have ended the transaction itself
                    self._connection.execute("ROLLBACK")
                raise


def create(folder: pathlib.Path, found: Study, num_listeners: int) -> None:
    """A new answers.sqlite with links for so many listeners."""
    with contextlib.closing(Database(folder, create=True)) as database:
        database.add_listeners(found, num_listeners)


def results(folder: str | pathlib.Path) -> list[Answer]:
    """What listeners answered to the trials that count, by listener and in the order in which they heard them.

    `Rating`s of `mushra` and `mos`, `Choice`s of `ab`, `Discrimination`s of `abx`. Practice and attention checks are no
    results: see `checks`.

    Raises:
      UserError: no whole study, or a damaged database.
    """
    found = study.read(folder)
    return [
        one
        for name, trial, page, answer in _answered(folder, found)
        if trial.kind == TEST
        for one in _results(found, name, trial, page, answer)
    ]


@dataclasses.dataclass(frozen=True)
class Checks:
    """How a listener did where the right answer is known.

    Attributes:
      attention: (right, asked) of the attention checks.
      headphones: (right, asked) of the headphone check.
    """

    attention: tuple[int, int]
    headphones: tuple[int, int]

    @property
    def attentive(self) -> bool:
        """Whether all attention checks were passed so far."""
        return self.attention[0] == self.attention[1]

    @property
    def on_headphones(self) -> bool:
        """Whether the headphone check was passed; also where there was none."""
        right, asked = self.headphones
        return right >= min(headphones.NEEDED, asked)


def checks(folder: str | pathlib.Path) -> dict[str, Checks]:
    """Name of each listener who has answered anything -> how the checks went. Raises as `results`."""
    found = study.read(folder)
    tones = {tone.id: tone.quietest for tone in found.headphones}
    passed: dict[str, list[bool]] = {}
    heard: dict[str, list[bool]] = {}
    for listener, page, answer in _rows(folder):
        attention, headphone = passed.setdefault(listener.name, []), heard.setdefault(listener.name, [])
        trial = found.trial(page.trial)
        if trial is not None and trial.kind == ATTENTION:
            attention.append(passes(found, trial, page, answer))
        elif page.trial in tones:
            headphone.append(answer["choice"] == tones[page.trial])
    return {
        name: Checks((sum(passed[name]), len(passed[name])), (sum(heard[name]), len(heard[name]))) for name in passed
    }


def passes(found: Study, trial: Trial, page: orders.Page, answer: dict[str, Any]) -> bool:
    """Whether an attention check was answered as the page asks."""
    beeps = page.slots.index(next(one.id for one in trial.stimuli if one.system == CHECK))
    if found.design == "mushra":
        return answer["scores"][beeps] == 0
    if found.design == "mos":
        return answer["scores"][beeps] == 1
    if found.design == "ab":
        return answer["choice"] == 1 - beeps
    return _names_x(trial, page, answer)


def _answered(folder: str | pathlib.Path, found: Study) -> Iterator[tuple[str, Trial, orders.Page, dict[str, Any]]]:
    for listener, page, answer in _rows(folder):
        trial = found.trial(page.trial)
        if trial is not None:
            yield listener.name, trial, page, answer


def _rows(folder: str | pathlib.Path) -> Iterator[tuple[Listener, orders.Page, dict[str, Any]]]:
    with contextlib.closing(Database(folder)) as database:
        listeners = {one.number: one for one in database.listeners()}
        for row in database.answers():
            listener = listeners[row.listener]
            yield listener, listener.pages[row.page], row.answer


def _results(found: Study, name: str, trial: Trial, page: orders.Page, answer: dict[str, Any]) -> list[Answer]:
    """What a page's answer says of its systems."""
    systems = {one.id: one.system for one in trial.stimuli}
    heard, seconds = [systems[id] for id in page.slots], float(answer["seconds"])
    if found.design == "ab":
        return [Choice(name, trial.item, *heard, CHOSEN[answer["choice"]], seconds)]
    if found.design == "abx":
        first, second = (one.system for one in trial.stimuli)  # as the study names them, not as they were heard
        return [Discrimination(name, trial.item, first, second, _names_x(trial, page, answer), seconds)]
    scores = zip(heard, answer["scores"], strict=True)
    return [Rating(name, trial.item, system, float(score), seconds) for system, score in scores]


def _names_x(trial: Trial, page: orders.Page, answer: dict[str, Any]) -> bool:
    """Whether the chosen one of A and B is X."""
    x = next(place for place, one in enumerate(trial.given) if one.id == page.given[0])
    return page.slots[answer["choice"]] == trial.stimuli[x].id


def _pages(text: str) -> tuple[orders.Page, ...]:
    return tuple(orders.Page(one["trial"], tuple(one["slots"]), tuple(one["given"])) for one in json.loads(text))


@contextlib.contextmanager
def _explained(path: pathlib.Path) -> Iterator[None]:
    """Turns what SQLite says of a damaged, locked or full disk into a sentence."""
    try:
        yield
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{files.describe_path(path)} cannot be used: {error}; restore the file, or free the disk"
        ) from error
