"""What the server gives to whom, and what it refuses; in this process, without a network."""

import contextlib
import json
import warnings

import pytest
import tiny_studies

from musicgen_jax.listening import answers, orders, preparation, storage, study
from musicgen_jax.runtime.errors import UserError

pytest.importorskip("starlette", reason="the extra listen is not installed")
pytest.importorskip("httpx", reason="the extra test is not installed")

from musicgen_jax.listening import server, serving

with warnings.catch_warnings():  # of a newer starlette, which prefers another package for its client
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

HOST = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, str]:
    return tiny_studies.write_clips(tmp_path_factory.mktemp("clips"))


class Served:
    """A study, a client of its server, and its listeners' links."""

    def __init__(self, folder, client):
        self.folder, self.client, self.study = folder, client, study.read(folder)
        with contextlib.closing(storage.Database(folder)) as database:
            self.listeners = database.listeners()
        self.links = [f"/s/{one.token}/" for one in self.listeners]

    def right(self, page, listener=0):
        return tiny_studies.right_answer(self.study, self.listeners[listener].pages[page]) | {"seconds": 1.0}

    def post(self, page, answer=None, listener=0):
        answer = self.right(page, listener) if answer is None else answer
        return self.client.post(f"{self.links[listener]}answers/{page}", json=answer)


@pytest.fixture
def served(tmp_path, clips):
    folder = tmp_path / "study"
    preparation.prepare(tiny_studies.settings(clips, "mushra"), str(folder), 3)
    with TestClient(server.application(folder, ["127.0.0.1", "localhost"]), base_url=HOST) as client:
        yield Served(folder, client)


def test_a_listener_s_way(served):
    link, pages = served.links[0], served.listeners[0].pages
    assert served.client.get(link).headers["content-type"].startswith("text/html")
    told = served.client.get(f"{link}session").json()
    assert told["next"] == 0 and len(told["pages"]) == len(pages) and told["design"] == "mushra"
    for number in range(len(pages)):
        assert served.post(number).json() == {"next": number + 1}
    assert served.client.get(f"{link}session").json()["next"] == len(pages)
    found = storage.results(served.folder)
    assert {(one.system, one.score) for one in found} >= {("reference", 100.0), ("good", 80.0), ("bad", 20.0)}
    assert storage.checks(served.folder)["listener001"].attentive


def test_sounds_are_what_the_plan_says(served):
    number = len(served.listeners[0].pages) - 1
    page = served.listeners[0].pages[number]
    files = served.study.files()
    for slot, id in enumerate((*page.slots, *page.given)):
        got = served.client.get(f"{served.links[0]}audio/{number}/{slot}")
        assert got.content == (served.folder / files[id]).read_bytes() and got.headers["content-type"] == "audio/wav"


@pytest.mark.parametrize("bytes_in_memory", [0, 1 << 20])
def test_sounds_come_from_memory_as_far_as_they_fit(served, monkeypatch, bytes_in_memory):
    monkeypatch.setattr(server, "MEMORY_BYTES", bytes_in_memory)
    monkeypatch.setattr(server, "CHUNK_BYTES", 1000)
    number = len(served.listeners[0].pages) - 1
    path = served.folder / served.study.files()[served.listeners[0].pages[number].slots[0]]
    content, link = path.read_bytes(), f"{served.links[0]}audio/{number}/0"
    assert served.client.get(link).content == content
    path.write_bytes(content[:-2])
    again = served.client.get(link)
    assert len(again.content) == int(again.headers["content-length"]) == len(content) - 2 * (bytes_in_memory == 0)


def test_nothing_tells_which_system_is_which(served):
    link = served.links[0]
    told = [served.client.get(link).text, served.client.get(f"{link}session").text]
    replies = [served.client.get(f"{link}audio/8/{slot}") for slot in range(6)]
    told += [str(reply.headers) for reply in replies]
    assert len({str(sorted(reply.headers.items())) for reply in replies}) == 1
    secrets = [*served.study.systems, "anchor35", "anchor70", "tune", "attention", *served.study.files()]
    secrets += [trial.id for trial in served.study.trials]
    assert not [secret for secret in secrets for text in told if secret in text]
    assert not {"etag", "last-modified"} & replies[0].headers.keys()
    kinds = [page["kind"] for page in served.client.get(f"{link}session").json()["pages"]]
    assert set(kinds) == {"consent", "headphones", "practice", "test"} and kinds.count("test") == 4


def test_others_are_strangers(served):
    served.post(0)
    assert served.client.get(f"{served.links[1]}session").json()["next"] == 0
    for token in ("x", "", served.listeners[0].token[:-1], served.listeners[0].token + "A", "%00", "a" * 5000):
        for rest in ("", "session", "audio/1/0", "study.json"):
            assert served.client.get(f"/s/{token}/{rest}").status_code == 404
        assert served.client.post(f"/s/{token}/answers/0", json={"agreed": True, "seconds": 1}).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        *("", "study.json", "answers.sqlite", "../study.json", "..%2fstudy.json", "audio/../../study.json"),
        *("audio/0/0", "audio/1/1", "audio/99/0", "audio/-1/0", "audio/1/-1", "audio/1/0/", "audio/1/%2e%2e%2f"),
        *(
            "audio/1/" + "9" * 5000,
            "audio/¹/0",
            "audio/1/0.wav",
            "audio/1/\u0660",
            "answers/0",
            "session/",
            "session/x",
        ),
    ],
)
def test_no_path_leads_elsewhere(served, path):
    link = served.links[0] if path else "/"
    got = served.client.get(link + path)
    assert got.status_code == (405 if path == "answers/0" else 404)
    assert len(got.content) < 100 and "design" not in got.text


@pytest.mark.parametrize(
    "name", ["..%2fserver.py", "server.py", "../server.py", "", "index.html/", "%2e%2e/__init__.py", "/etc/passwd"]
)
def test_only_the_files_of_the_page(served, name):
    assert served.client.get("/page/" + name).status_code == 404
    assert served.client.get("/page/main.js").headers["content-type"].startswith("text/javascript")
    for path in (
        "/",
        "/study.json",
        "/answers.sqlite",
        "/audio/",
        "//etc/passwd",
        "/s",
        "/s/",
        "/docs",
        "/openapi.json",
    ):
        assert served.client.get(path).status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.1@evil.example", "a/b", "*"])
def test_other_hosts_are_refused(served, host):
    got = served.client.get(f"{served.links[0]}session", headers={"host": host})
    assert got.status_code == 400 and "title" not in got.text


def test_ranges_are_whole_files(served):
    link = f"{served.links[0]}audio/8/0"
    whole = served.client.get(link)
    many = "bytes=" + ",".join(f"{start}-" for start in range(3000))
    for asked in ("bytes=0-10", "bytes=-5", many, "bytes=9999999-", "nonsense"):
        got = served.client.get(link, headers={"range": asked})
        assert got.status_code == 200 and got.content == whole.content
    assert served.client.head(link).content == b""


def test_bodies_have_a_limit(served):
    big = b'{"agreed": true, "seconds": 1' + b" " * answers.MAX_BYTES + b"}"
    link, json_type = f"{served.links[0]}answers/0", {"content-type": "application/json"}
    assert served.client.post(link, content=big, headers=json_type).status_code == 413

    def endless():  # without a length in front
        sent = 0
        while sent < 10**6:
            sent += 10_000
            yield b" " * 10_000

    assert served.client.post(link, content=endless(), headers=json_type).status_code == 413
    assert served.client.get(f"{served.links[0]}session").json()["next"] == 0


def test_answers_that_do_not_fit(served):
    link = f"{served.links[0]}answers/0"
    for body in (b"", b"[]", b"\xff", b'{"agreed": false, "seconds": 1}', b"[" * 4000):
        got = served.client.post(link, content=body, headers={"content-type": "application/json"})
        assert got.status_code == 422
    form = served.client.post(link, data={"agreed": "true"})
    assert form.status_code == 415
    assert served.client.post(link, content=b'{"agreed": true, "seconds": 1}').status_code == 415
    assert served.post(3).status_code == 409  # without consent
    assert served.post(99, {"choice": 1}).status_code == 404
    assert storage.Database(served.folder).answers() == []


def test_the_first_answer_stands(served):
    served.post(0)
    right = served.right(1)
    assert served.post(1, right).status_code == 200
    again = served.post(1, right | {"choice": 2 - right["choice"], "seconds": 9})
    assert again.status_code == 200 and again.json() == {"next": 2}  # its reply may have been lost
    assert storage.Database(served.folder).answers()[1].answer == right


def test_safe_headers_everywhere(served):
    for path in (served.links[0], f"{served.links[0]}audio/8/0", "/page/main.js", "/nowhere"):
        headers = served.client.get(path).headers
        assert headers["referrer-policy"] == "no-referrer" and headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"] and headers["cache-control"] == "no-store"


def test_a_restarted_server_goes_on(served):
    served.post(0)
    served.post(1)
    with TestClient(server.application(served.folder, ["127.0.0.1"]), base_url=HOST) as client:
        assert client.get(f"{served.links[0]}session").json()["next"] == 2


def test_a_full_disk_is_told_and_tried_again(served, capsys, monkeypatch):
    def full(_, rows):
        raise UserError("answers.sqlite cannot be used: database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(storage.Database, "store", full)
        assert served.post(0).status_code == 503
        assert "disk is full" in capsys.readouterr().err
    assert served.post(0).json() == {"next": 1}


@pytest.mark.parametrize("design", study.DESIGNS)
def test_what_the_page_is_told(tmp_path, clips, design):
    found = preparation.prepare(tiny_studies.settings(clips, design), str(tmp_path), 1)
    pages = orders.of(found, 0)
    told = answers.describe(found, tuple(pages))
    slots = {"mushra": (5, 1), "mos": (1, 0), "ab": (2, 0), "abx": (2, 1)}[design]
    assert {(page["slots"], page["given"]) for page in told if page["kind"] in ("test", "practice")} == {slots}
    assert json.dumps(told).count("attention") == 0


@pytest.mark.parametrize(
    ("host", "url", "hosts"),
    [
        ("127.0.0.1", "", ["127.0.0.1", "localhost", "[::1]"]),
        ("192.168.1.5", "", ["192.168.1.5"]),
        ("0.0.0.0", "https://listen.example.org/study", ["listen.example.org"]),
    ],
)
def test_hosts(host, url, hosts):
    assert serving.hosts_of(host, url) == hosts


@pytest.mark.parametrize(("host", "url"), [("0.0.0.0", ""), ("::", ""), ("", ""), ("name", ""), ("127.0.0.1", "x.org")])
def test_addresses_that_are_none(host, url):
    with pytest.raises(UserError, match=r"host|url"):
        serving.hosts_of(host, url)


def test_a_study_that_is_not_whole_is_not_served(tmp_path):
    with pytest.raises(UserError, match=r"no study.json"):
        server.application(tmp_path, ["127.0.0.1"])
