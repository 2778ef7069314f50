"""What the server has acknowledged is on disk: it may be killed at any moment, in the middle of what it does."""

import contextlib
import http.client
import json
import pathlib
import threading
import time
import urllib.parse

import numpy as np
import pytest
import served_studies
import tiny_studies

from musicgen_jax.listening import preparation, storage

pytest.importorskip("uvicorn", reason="the extra listen is not installed")

KILLS, CLIENTS, LISTENERS = 20, 10, 60


class Crowd:
    """Listeners who answer page after page as fast as the server takes it, and try again when it is gone."""

    def __init__(self, folder: pathlib.Path) -> None:
        found = preparation.study.read(folder)
        with contextlib.closing(storage.Database(folder)) as database:
            self._listeners = database.listeners()
        self._answers = [
            [tiny_studies.right_answer(found, page) | {"seconds": 1.0} for page in one.pages] for one in self._listeners
        ]
        self.acknowledged: set[tuple[int, int]] = set()
        self.refused: list[str] = []
        self.broken = 0  # requests that a kill cut off
        self.address = ""
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._take_part, args=(n,)) for n in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _take_part(self, client: int) -> None:
        for listener in self._listeners[client::CLIENTS]:
            for page in range(len(listener.pages)):
                while not self._post(listener, page):
                    if self._over.is_set():
                        return
                    time.sleep(0.005)

    def _post(self, listener: storage.Listener, page: int) -> bool:
        """Whether the server said that it has the answer."""
        body = json.dumps(self._answers[listener.number][page])
        try:
            with contextlib.closing(http.client.HTTPConnection(self.address, timeout=10)) as connection:
                path = f"/s/{listener.token}/answers/{page}"
                connection.request("POST", path, body, {"content-type": "application/json"})
                response = connection.getresponse()
                text = response.read().decode()
        except (OSError, http.client.HTTPException):
            self.broken += 1
            return False
        if response.status != 200:
            self.refused.append(text)
        self.acknowledged.add((listener.number, page))
        return True


def stored(folder: pathlib.Path) -> set[tuple[int, int]]:
    with contextlib.closing(storage.Database(folder)) as database:
        return {(one.listener, one.page) for one in database.answers()}


@pytest.mark.slow
def test_twenty_kills_lose_no_acknowledged_answer(tmp_path):
    clips = tiny_studies.write_clips(tmp_path / "clips", items=20)
    folder = tmp_path / "study"
    preparation.prepare(tiny_studies.settings(clips, "mos", headphones=False), str(folder), LISTENERS)
    crowd, rng, lost = Crowd(folder), np.random.default_rng(0), []
    for kill in range(KILLS):
        server = served_studies.Server(folder)
        crowd.address = urllib.parse.urlsplit(server.links[0]).netloc
        if not kill:
            crowd.start()
        enough, end = len(crowd.acknowledged) + rng.integers(20, 90), time.monotonic() + 20
        while len(crowd.acknowledged) < enough and time.monotonic() < end:
            time.sleep(0.001)
        server.kill()
        lost += crowd.acknowledged.copy() - stored(folder)
    crowd.stop()
    lost += crowd.acknowledged - stored(folder)
    assert lost == [] and crowd.refused == []
    assert len(crowd.acknowledged) >= KILLS * 20 and crowd.broken >= KILLS
    assert {one.score for one in storage.results(folder)} == {1.0, 5.0}
