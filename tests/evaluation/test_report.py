import html.parser
import re

import browser
import numpy as np
import pytest

from musicgen_jax.evaluation import report, report_contents, report_media, report_tables
from musicgen_jax.evaluation.samples import Sample
from musicgen_jax.scores.score import Score

RATE = 8000
METRICS = {
    "reconstruction": {
        tier: {"spectral_convergence_db": value, "multiscale_spectral_mse": 3e-5, "si_sdr_db": 4.0, "num_clips": 3}
        for tier, value in (("top", -7.5), ("middle", -13.25), ("bottom", -18.5))
    },
    "codebook": {"top": {"usage": 0.625, "perplexity": 99.5, "dead": 3}},
    "prior": {
        "top": {"nats_per_code": 3.0, "perplexity": 20.1, "unigram_nats": 5.0, "bigram_nats": 3.5},
        "middle": {"nats_per_code": 4.25, "perplexity": 70.1, "unigram_nats": 5.0, "bigram_nats": 4.0},
        "bits_per_second": 12_345.6,
    },
    "fad": {
        "value": 17.125,
        "embedding": "log-mel-statistics",
        "num_frames": 76,
        "num_reference_frames": 1234,
        "clip_seconds": 8.0,
    },
}


def _clip(name, hz, seconds=1.0):
    return report_media.Clip(name, 0.3 * np.sin(2 * np.pi * hz * np.arange(int(RATE * seconds)) / RATE), RATE)


def _write(path, **changes):
    parts = {
        "title": "A <report> & more",
        "reconstructions": [{tier: _clip("BWV 66.6", hz) for hz, tier in ((300, "top"), (440, "original"))}],
        "samples": [
            Sample(_clip("sample 000", 600, 1.5), {"seed": 7, "genre": "<organ>", "top_p": {"top": 0.9, "bottom": 1.0}})
        ],
        "curves": {"prior top": [{"step": step, "loss": 5 - step} for step in range(3)]},
        "metrics": METRICS,
        "settings": {"data": "demo/data", "tokenizer": {"sample_rate": RATE}},
    }
    parts |= changes
    title, metrics = parts.pop("title"), parts.pop("metrics")
    report.write_report(path, title, report_contents.gather(**parts), metrics)
    return path.read_text(encoding="utf-8")


class _Tags(html.parser.HTMLParser):
    """Checks that every element is closed in order."""

    VOID = ("meta", "link", "img", "input", "line", "polyline", "circle")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_well_formed_and_asks_nobody(tmp_path):
    page = _write(tmp_path / "report.html")
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []
    assert "A &lt;report&gt; &amp; more" in page
    assert "top 0.9, bottom 1<" in page
    assert "&lt;organ&gt;" in page
    assert "<organ>" not in page


def test_the_page_shows_every_figure(tmp_path):
    page = _write(tmp_path / "report.html")
    for figure in ("&minus;18.50", "&minus;13.25", "62.5%", "99.5", "3.000", "12,346", "17.125", "76", "1,234"):
        assert figure in page
    assert '<span class="good">&minus;0.500</span>' in page
    assert '<span class="bad">+0.250</span>' in page
    assert "3.00 &times; 10<sup>&minus;5</sup>" in page
    assert "1 of 2" in page
    assert report.FAD_CAUTION in page
    assert "tokenizer.sample_rate" in page
    # Coarse to fine, as the keys are.
    assert (
        page.index('<th scope="row">top') < page.index('<th scope="row">middle') < page.index('<th scope="row">bottom')
    )
    assert page.index("<b>original</b>") < page.index("<b>top</b>")


def test_what_was_not_evaluated_is_said(tmp_path):
    page = _write(tmp_path / "report.html", metrics={}, samples=[], curves={}, reconstructions=[], settings={})
    for sentence in ("No prior was given", "No samples were given", "No training logs", "No recordings", "No settings"):
        assert sentence in page


def test_a_figure_that_is_not_finite_is_a_dash(tmp_path):
    metrics = {"fad": {**METRICS["fad"], "value": float("nan")}}
    page = _write(tmp_path / "report.html", metrics=metrics)
    assert "not measured" in page
    assert ">nan<" not in page


def test_recordings_without_original_are_refused(tmp_path):
    with pytest.raises(ValueError, match="needs 'original'"):
        _write(tmp_path / "report.html", reconstructions=[{"top": _clip("x", 100)}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium on the PATH to open the report with")
@pytest.mark.parametrize("complete", [True, False])
def test_the_page_works_in_a_browser(tmp_path, complete):
    nothing = {"metrics": {}, "samples": [], "curves": {}, "settings": {}}
    _write(tmp_path / "report.html", **({} if complete else nothing))
    seen = browser.open_page(tmp_path / "report.html", tmp_path, width=500)
    assert seen["errors"] == []
    assert seen["requests"] == []
    assert seen["broken_images"] == 0
    assert seen["overflow"] == 0
    durations = {player["name"]: player["duration"] for player in seen["players"]}
    # Its end is that of the sound: the encoder's delay and padding are not heard.
    expected = {"BWV 66.6, original": 1.0, "BWV 66.6, top": 1.0, **({"sample 000": 1.5} if complete else {})}
    assert durations == pytest.approx(expected, abs=0.01)


SCORE = Score(np.float32([[60, 0.0, 0.7, 90, 0], [67, 0.8, 0.7, 90, 0]]))
MEASURED = {
    "nats_per_note": 2.25,
    "bigram_nats_per_note": 4.75,
    "num_pieces": 13,
    "note_f1": 0.71,
    "note_f1_low": 0.64,
    "note_f1_high": 0.79,
    "note_f1_lowest": 0.52,
    "note_f1_shuffled": 0.17,
    "note_f1_ceiling": 0.913,
    "tone": 0.8,
    "tone_ceiling": 0.9,
    "samples": [{"name": "sample 000", "note_f1": 0.71, "tone": 0.8}],
    "statistics": {
        "samples": {"polyphony": {"mean": 3.75, "low": 3.5, "high": 4.0, "num_pieces": 2}},
        "interval_distance": 0.125,
    },
}


@pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium on the PATH to open the report with")
def test_a_sample_stands_below_its_score(tmp_path):
    clip = _clip("sample 000", 600, 1.5)
    sample = Sample(clip, {"seed": 7}, timbre="flute", score=SCORE, flags=("silent",))
    page = _write(tmp_path / "report.html", samples=[sample], metrics=METRICS | {"score": MEASURED})
    assert "The signal: most of it is silence." in page
    for figure in ("0.710", "0.640", "0.790", "0.520", "0.170", "0.913", "3.75", "0.12", "2.25", "4.75"):
        assert figure in page
    assert page.index("piano roll of") < page.index("log-mel spectrogram of sample 000")
    assert "C4" in page
    seen = browser.open_page(tmp_path / "report.html", tmp_path, width=390)
    assert (seen["errors"], seen["broken_images"], seen["overflow"]) == ([], 0, 0)
    durations = {player["name"]: player["duration"] for player in seen["players"]}
    assert durations["sample 000, score, the score, synthesized"] == pytest.approx(1.5, abs=0.01)


ORDER = """
const seen = [], names = [];
const all = Array.from(document.querySelectorAll("a[href], button, input, summary, [tabindex]"))
  .filter((element) => element.tabIndex >= 0 && element.checkVisibility({contentVisibilityAuto: true}));
for (const element of all) {
  element.focus();
  if (document.activeElement !== element) seen.push("cannot be focused: " + element.outerHTML.slice(0, 80));
  names.push(element.getAttribute("aria-label") || element.textContent.trim() || element.labels[0].textContent.trim());
}
const skip = document.querySelector(".skip");
const hidden = skip.getBoundingClientRect().right <= 0;
skip.focus({focusVisible: true});
const shown = skip.getBoundingClientRect(), outline = getComputedStyle(skip).outlineStyle;
return {seen, names, hidden, shown: shown.left >= 0 && shown.right < innerWidth, outline,
  target: document.querySelector(skip.getAttribute("href")).tagName,
  controls: document.querySelectorAll("audio[controls]").length};
"""


@pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium on the PATH to open the report with")
def test_the_page_can_be_read_by_keyboard(tmp_path):
    _write(tmp_path / "report.html")
    found = browser.open_page(tmp_path / "report.html", tmp_path, script=ORDER)["result"]
    assert found["seen"] == [] and all(found["names"])
    assert found["names"][:2] == ["Skip to the content", "Reconstructions"]
    order = [found["names"].index(f"{what} BWV 66.6, {key}") for key in ("original", "top")
             for what in ("play", "position in")]  # fmt: skip
    assert order == sorted(order)
    assert found["hidden"] and found["shown"] and found["outline"] != "none" and found["target"] == "MAIN"
    assert found["controls"] == 0


# Nothing is heard in a browser without a window: what asks for a sound, and what follows when it begins, is looked at.
PLAYING = """
const figures = Array.from(document.querySelectorAll("figure.player"));
const [one, other] = figures.map((figure) => figure.querySelector("audio"));
const asked = [];
for (const audio of [one, other]) {
  audio.play = () => { asked.push(audio.dataset.name); return Promise.resolve(); };
  audio.pause = () => asked.push("pause " + audio.dataset.name);
}
figures[0].querySelector(".play").click();
one.dispatchEvent(new Event("play"));
one.currentTime = 0.7;
figures[1].querySelector(".play").click();
other.dispatchEvent(new Event("play"));
return {asked, position: other.currentTime, time: figures[1].querySelector(".time").textContent};
"""


@pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium on the PATH to open the report with")
def test_another_version_goes_on_where_the_first_was(tmp_path):
    _write(tmp_path / "report.html", samples=[])
    seen = browser.open_page(tmp_path / "report.html", tmp_path, script=PLAYING)
    first, second = "BWV 66.6, original", "BWV 66.6, top"
    assert seen["errors"] == []
    assert seen["result"]["asked"] == [first, f"pause {second}", second, f"pause {first}"]
    assert seen["result"]["position"] == pytest.approx(0.7) and seen["result"]["time"] == "0.7 / 1.0 s"


KEYS = """
const picture = document.querySelector(".spectrogram"), audio = picture.closest("figure").querySelector("audio");
const places = [];
picture.focus();
for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "End", "PageDown", "Home"]) {
  const event = new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true});
  document.activeElement.dispatchEvent(event);
  if (!event.defaultPrevented) places.push("the page scrolled");
  places.push(audio.currentTime);
}
return {places, role: picture.getAttribute("role"), value: picture.getAttribute("aria-valuenow"),
  named: picture.getAttribute("aria-label"), most: picture.getAttribute("aria-valuemax")};
"""


@pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium on the PATH to open the report with")
def test_pictures_jump_by_keyboard(tmp_path):
    _write(tmp_path / "report.html", reconstructions=[{"original": _clip("BWV 66.6", 300, 7.5)}], samples=[])
    seen = browser.open_page(tmp_path / "report.html", tmp_path, script=KEYS)
    assert seen["errors"] == []
    assert seen["result"]["places"] == pytest.approx([1, 2, 1, 7.5, 2.5, 0], abs=0.01)
    assert seen["result"]["role"] == "slider" and seen["result"]["named"] == "position in BWV 66.6, original"
    assert (seen["result"]["value"], seen["result"]["most"]) == ("0.0", "7.5")


# In a frame, because the browser's own window is never narrower than 500 pixels.
NARROW = """
const copy = document.documentElement.cloneNode(true);
copy.querySelectorAll("script").forEach((script) => script.remove());
const frame = document.createElement("iframe");
frame.style = "width: 390px; height: 800px; border: 0";
frame.srcdoc = copy.outerHTML;
await new Promise((resolve) => { frame.onload = resolve; document.body.append(frame); });
const page = frame.contentDocument, box = (selector) => page.querySelector(selector).getBoundingClientRect();
const style = frame.contentWindow.getComputedStyle(page.querySelector(".ticks span"));
return {width: frame.contentWindow.innerWidth, whole: page.documentElement.scrollWidth,
  settings: box('nav a[href="#settings"]').right, table: box("table.settings").right,
  ink: style.color, ground: style.backgroundColor, opacity: style.opacity};
"""


@pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium on the PATH to open the report with")
def test_the_page_on_a_phone(tmp_path):
    _write(tmp_path / "report.html", settings={"data": "a/folder/with/a/rather/long/name/" * 4})
    found = browser.open_page(tmp_path / "report.html", tmp_path, script=NARROW)["result"]
    assert found["width"] == 390 and found["whole"] <= 390
    assert 0 < found["settings"] <= 390 and found["table"] <= 390
    # White on any brightness of the picture, through the labels' ground: more than 4.5 to 1.
    assert found["ink"] == "rgb(255, 255, 255)" and found["opacity"] == "1"
    alpha = float(re.fullmatch(r"rgba\(0, 0, 0, ([\d.]+)\)", found["ground"])[1])
    assert 1.05 / ((1 - alpha) ** 2.2 + 0.05) > 4.5


@pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium on the PATH to open the page with")
def test_the_browser_check_sees_what_is_broken(tmp_path):
    page = tmp_path / "broken.html"
    page.write_text(
        "<html><head></head><body><audio data-name='none' src='data:audio/wav;base64,AAAA'></audio>"
        "<img src='missing.png'><script>console.error('said'); throw new Error('thrown');</script></body></html>"
    )
    seen = browser.open_page(page, tmp_path)
    assert any("said" in error for error in seen["errors"])
    assert any("thrown" in error for error in seen["errors"])
    assert seen["players"] == [{"name": "none", "duration": 0}]
    assert seen["broken_images"] == 1
    assert any("missing.png" in request for request in seen["requests"])


@pytest.mark.parametrize("floor", [{}, {"floor": 1.0}])
def test_a_doubt_names_a_floor_only_where_there_is_one(floor):
    metrics = METRICS | {"fad": METRICS["fad"] | {"reliable": False, "dimensions": 128} | floor}
    assert ("with the floor only" in report_tables.fad_table(metrics)) == bool(floor)
