"""Several evaluations on one page."""

import copy
import json
import re

import browser
import command_line
import numpy as np
import pytest
import test_report

from musicgen_jax.evaluation import bootstrap, comparison, figures_table, report_contents
from musicgen_jax.evaluation.samples import Sample
from musicgen_jax.runtime.errors import NotFoundError, UserError

needs_chromium = pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium on the PATH to open it with")
STEPS = {"short": 100, "long": 300}


def _evaluation(folder, name, data="music", streams=("top", "bottom")):
    """A folder as evaluate leaves it."""
    metrics = copy.deepcopy(test_report.METRICS) | {"score": copy.deepcopy(test_report.MEASURED)}
    steps = STEPS[name]
    metrics["about"] = {
        "version": "1", "date": "2026-01-01T00:00:00+00:00", "hardware": "2 CPU cores",
        "training_steps": {"vqvae": steps, "top": steps},
    }  # fmt: skip
    metrics["prior"]["top"]["nats_per_code"] = 3.0 - steps / 1000
    metrics["score"]["note_f1"] = 0.5 + steps / 1000
    sounds = {"original": 300, **{stream: 310 + 10 * place for place, stream in enumerate(streams)}}
    recordings = [{key: test_report._clip(f"BWV <{n}>", hz, 0.3) for key, hz in sounds.items()} for n in range(2)]
    samples = [
        Sample(test_report._clip("000.wav", 600, 0.3), {"seed": steps}, timbre="flute", score=test_report.SCORE),
        Sample(test_report._clip("001.wav", 600, 0.3), {"seed": steps}),
    ]
    curves = {"top": [{"step": step, "eval/loss": 5 - step / 100, "loss": 9.0} for step in range(0, steps + 1, 50)]}
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics))
    settings = {"data": data, "split": "test", "max_seconds": 60.0}
    report_contents.save(folder, report_contents.gather(recordings, samples, curves, settings))


@pytest.fixture
def folders(tmp_path):
    for name in STEPS:
        _evaluation(tmp_path / name, name)
    return {name: str(tmp_path / name) for name in STEPS}


def test_the_page_compares(folders, tmp_path):
    assert comparison.compare(folders, str(tmp_path / "out")) == []
    page = (tmp_path / "out" / "report.html").read_text()
    tags = test_report._Tags()
    tags.feed(page)
    assert tags.open == [] and not re.search(r"\$[a-z]", re.sub(r"(?s)<script>.*</script>", "", page))
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []
    row = page[page.index("nats per code") :].partition("</tr>")[0]
    assert re.findall(r"<td>(.*?)</td>", row) == ["2.9", "<b>2.7</b>"]
    row = page[page.index("note F1 against the score") :].partition("</tr>")[0]
    assert re.findall(r"<td>(.*?)</td>", row) == [
        "0.6<small>0.64 to 0.79</small>",
        "<b>0.8</b><small>0.64 to 0.79</small>",
    ]
    # The sound of each run beside the original, in the order that the runs were named in.
    card = page[page.index("<h3>BWV &lt;0&gt;</h3>") :].partition('<div class="card')[0]
    assert re.findall(r'data-name="(.*?)"', card) == [
        f"BWV &lt;0&gt;, {which}" for which in ("original", "short: bottom", "long: bottom", "short: top", "long: top")
    ]
    assert "top: eval/loss" in page and "steps of top" in page
    stored = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert stored["runs"] == folders
    assert stored["figures"]["score.note_f1"]["long"] == {"value": 0.8, "low": 0.64, "high": 0.79}


def test_what_lacks_in_one_is_said(folders, tmp_path):
    _evaluation(tmp_path / "other", "long", data="other music", streams=("residual",))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "metrics.json").write_text('{"reconstruction": {}, "codebook": {}}')
    runs = {"short": folders["short"], "other": str(tmp_path / "other"), "old": str(tmp_path / "old")}
    cautions = comparison.compare(runs, str(tmp_path / "out"))
    assert len(cautions) == 2
    assert "old has no sounds" in cautions[0] and "differ in data (short music, other other music)" in cautions[1]
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(caution in page for caution in cautions)
    assert "short: bottom" in page and "other: residual" in page and "nothing of this recording" in page


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["A"], "'A' must be a name and a folder: --compare=A=DIR,B=DIR"),
        (["=x"], "must be a name and a folder"),
        (["A=x", "A=y"], "A is named twice"),
        (["A=gs://b/x"], "only paths on this machine"),
    ],
)
def test_what_cannot_be_meant(texts, message):
    with pytest.raises(UserError, match=message):
        comparison.parse(texts)


def test_folders_of_something_else(folders, tmp_path):
    with pytest.raises(UserError, match="has 1 runs: pass 2 to 12"):
        comparison.compare({"short": folders["short"]}, str(tmp_path / "out"))
    with pytest.raises(NotFoundError, match="no such folder"):
        comparison.compare(folders | {"x": str(tmp_path / "none")}, str(tmp_path / "out"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match=r"no metrics\.json"):
        comparison.compare(folders | {"x": str(tmp_path / "empty")}, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def _row(page, title):
    return re.findall(r"<td>(.*?)</td>", page[page.index(title) :].partition("</tr>")[0])


def test_runs_are_told_apart_piece_by_piece():
    """The intervals of the means overlap; of the differences on the same pieces none has 0."""
    pieces = {"short": [1.0, 5.0, 9.0], "long": [2.0, 6.1, 10.2], "same": [1.0, 5.0, 9.0], "other": [8.0, 1.0, 9.0]}
    runs = {
        name: {
            "reconstruction": {
                "top": bootstrap.of_tracks([{"track": str(n), "si_sdr_db": value} for n, value in enumerate(values)])
            }
        }
        for name, values in pieces.items()
    }
    first, longer, same, other = _row(figures_table.table(runs), "SI-SDR, dB")
    assert first == "5<small>1 to 9</small>" and same == first
    assert longer.startswith("<b>6.1</b><small>2 to 10.2</small>")
    assert '<small class="good" title="from the first column, mean over 3 pieces">+1.1 (+1 to +1.2)</small>' in longer
    assert '<small class=""' in other and "to +7)" in other
    worse = _row(figures_table.table({"long": runs["long"], "short": runs["short"]}), "SI-SDR, dB")[1]
    assert '<small class="bad"' in worse and "&minus;1.1" in worse


NARROW = (
    test_report.NARROW.split("const page =")[0]
    + """
const page = frame.contentDocument;
const tops = Array.from(page.querySelectorAll(".side")[0].children, (cell) => cell.getBoundingClientRect().top);
const wide = Array.from(document.querySelectorAll(".side")[0].children, (cell) => cell.getBoundingClientRect().top);
return {width: frame.contentWindow.innerWidth, whole: page.documentElement.scrollWidth, tops, wide,
  box: getComputedStyle(page.querySelector(".scroll")).overflowX};
"""
)


@needs_chromium
def test_in_a_browser_at_a_desk_and_on_a_phone(folders, tmp_path):
    runs = folders | {f"run {n} with a rather long name": folders["long"] for n in range(4)}
    comparison.compare(runs, str(tmp_path / "out"))
    seen = browser.open_page(tmp_path / "out" / "report.html", tmp_path, script=NARROW)
    assert (seen["errors"], seen["requests"], seen["broken_images"], seen["overflow"]) == ([], [], 0, 0)
    assert all(player["duration"] == pytest.approx(0.3, abs=0.01) for player in seen["players"])
    found = seen["result"]
    assert found["width"] == 390 and found["whole"] <= 390 and found["box"] == "auto"
    assert len(set(found["wide"])) == 1, "at a desk one row"
    assert np.all(np.diff(found["tops"]) > 50), "on a phone one above the other"


def test_the_command(folders, tmp_path):
    out = tmp_path / "out"
    flags = [f"--compare=short={folders['short']},long={folders['long']}", f"--out={out}"]
    for _ in range(2):  # into its own folder again
        done = command_line.run("musicgen_jax.evaluate", *flags)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{out / 'report.html'}\n"
    assert {path.name for path in out.iterdir()} == {"report.html", "comparison.json"}
    for given, message in (
        ([*flags, "--data=x"], "error: --data: earlier evaluations are compared without it"),
        ([*flags, "--top=x"], "error: a model beside --compare: earlier evaluations are compared without it"),
        ([flags[0], f"--out={folders['short']}"], "holds other things"),
        ([flags[1], "--compare=short"], "error: --compare: 'short' must be a name and a folder"),
        ([flags[1]], "Flag --data must have a value."),
    ):
        failed = command_line.run("musicgen_jax.evaluate", *given)
        assert failed.returncode == 1 and message in failed.stderr and not failed.stdout
