"""The page of a check: all of it in one file, what it names escaped."""

import html.parser
import re

import browser
import pytest

from musicgen_jax.evaluation import bar_charts, data_page

FOUND = {
    "settings": {"dataset": "recordings", "source": "/music <live>", "sample_rate": 22050, "seed": 0},
    "files": {"ok": 3, "rejected": 1},
    "rejected": [{"path": "<b>.mp3", "reason": "undecodable: no audio & no sense"}],
    "doubtful": [{"path": f"{n}.wav", "warning": "clipped: 3%"} for n in range(300)],
    "hours": 0.5,
    "splits": {name: {"tracks": 1, "hours": 0.1} for name in ("train", "validation", "test")},
    "duplicates": {"exact": [["a", "b"]], "near": [[f"track {n}" for n in range(30)]]},
    "leakage": [{"kind": "artist", "artist": "A & B", "splits": {"train": ["a"], "test": ["c"]}}],
    "durations": {"unit": "s", "edges": [0, 10, 100], "counts": [2, 1]},
    "loudness": {"percentile_50": -20.5, "unit": "LUFS", "edges": [-60, -30, 0], "counts": [0, 3]},
    "sample_rates": {"16000": 1, "44100": 2},
    "labels": {"genre": {"Rock <hard>": 2, "unknown": 1}},
    "licence": {"tracks": {"CC-BY-4.0": 2, "": 1}, "url": "https://example.org"},
}


class Reader(html.parser.HTMLParser):
    """Collects what the page would load, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href", "data", "srcset", "action")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def path(tmp_path):
    data_page.write(tmp_path / "check.html", FOUND)
    return tmp_path / "check.html"


def test_everything_is_said_and_nothing_loaded(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert all(one.startswith(("#", "data:")) for one in reader.loaded)
    assert (
        "url(" not in path.read_text() and "@import" not in path.read_text() and not re.search(r"\$[a-z]", reader.text)
    )
    files = ("/music <live>", "<b>.mp3", "no audio & no sense", "100 more are in check.json")
    groups = (
        "artist: A & B",
        "track 9 and 20 more",
        "-20.5LUFS, median loudness",
        "CC-BY-4.0 (2 tracks)",
        "Rock <hard>",
    )
    for words in files + groups:
        assert words in reader.text, words


def test_nothing_found(tmp_path):
    found = FOUND | {
        "rejected": [],
        "doubtful": [],
        "leakage": [],
        "labels": {},
        "duplicates": {"exact": [], "near": []},
    }
    found = {name: value for name, value in found.items() if name not in ("loudness", "sample_rates", "licence")}
    data_page.write(tmp_path / "check.html", found)
    text = (tmp_path / "check.html").read_text()
    for words in ("None rejected.", "Nothing is in several splits.", "No near duplicates.", "No track has a label."):
        assert words in text


def test_bars_are_as_high_as_their_counts():
    chart = bar_charts.bars({"a": 1, "b": 4, "c": 0}, "things")
    heights = [float(height) for height in re.findall(r'class="bar".*?height="([\d.]+)"', chart)]
    assert heights[0] == pytest.approx(heights[1] / 4, abs=0.1) and heights[2] == 0
    assert "<title>b: 4</title>" in chart
    many = bar_charts.histogram(range(101), [1] * 100, "s", "times")
    assert many.count("<rect") == 100 and many.count("<text") < 25


@pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1280, 400])
def test_in_a_browser(path, tmp_path, width):
    seen = browser.open_page(path, tmp_path, width=width)
    assert seen["errors"] == [] and seen["requests"] == [] and seen["overflow"] <= 0
