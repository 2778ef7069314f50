"""The page in a real browser, as a listener uses it: clicks, keys, a reload, to the answer in the database."""

import contextlib
import pathlib
import signal
from collections.abc import Iterator

import browser
import devtools
import pytest
import served_studies
import tiny_studies

from musicgen_jax.listening import preparation, storage, study

pytest.importorskip("uvicorn", reason="the extra listen is not installed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium on the PATH to take part with"),
]


@contextlib.contextmanager
def served(folder: pathlib.Path) -> Iterator[list[str]]:
    """The links of a study that a process of its own serves."""
    server = served_studies.Server(folder)
    try:
        yield server.links
    finally:
        code, said = server.stop()
        assert code == -signal.SIGTERM and "Traceback" not in said


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[devtools.Page]:
    with devtools.chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, str]:
    return tiny_studies.write_clips(tmp_path_factory.mktemp("clips"), items=1)


def prepared(clips, folder, design, **more) -> study.Study:
    return preparation.prepare(tiny_studies.settings(clips, design, **{"headphones": False} | more), str(folder), 2)


def pages_of(folder):
    with contextlib.closing(storage.Database(folder)) as database:
        return database.listeners()[0].pages


def begin(page, link):
    page.requests.clear()
    page.errors.clear()
    page.width(390)
    page.open(link)
    page.click("#go")
    page.wait_for("document.querySelector('#next')")


def is_on(page, number, pages):
    """Waits for a page of the study, whose sounds are loaded."""
    page.wait_for(f"document.querySelector('#place').textContent.startsWith('page {number + 1} of {len(pages)}')")
    page.wait_for("document.querySelector('#next')")
    assert page.run("document.documentElement.scrollWidth <= 390"), "it must fit a phone"
    assert page.run("document.querySelector('#next').disabled"), "nothing was heard yet"


def go_on(page):
    """Clicks on Next as soon as the page lets one."""
    page.wait_for("!document.querySelector('#next').disabled")
    page.click("#next")


def heard(page, label):
    """Waits until the page has it that a sound was heard for long enough."""
    page.wait_for(rf"!/^Listen to[^.]*\b{label}\b/.test(document.querySelector('#hint').textContent)")


def finish(page, link):
    page.wait_for("document.querySelector('#thanks')")
    assert page.errors == []
    start = link.split("/s/")[0]
    assert page.requests and all(url.startswith((start, "data:")) for url in page.requests), "nothing from elsewhere"


def test_mos_by_keys(page, clips, tmp_path):
    """With the headphone check; all of it without the mouse, but for the first click."""
    found = prepared(clips, tmp_path, "mos", headphones=True)
    pages = pages_of(tmp_path)
    with served(tmp_path) as links:
        begin(page, links[0])
        for number in range(1, len(pages)):
            is_on(page, number, pages)
            right = tiny_studies.right_answer(found, pages[number])
            page.press(str(right["choice"] + 1 if "choice" in right else right["scores"][0]))
            assert page.run("document.querySelector('#hint').textContent") == "Listen to the end."
            page.press(" ")
            page.wait_for("!document.querySelector('#next').disabled")
            page.press("n")
        finish(page, links[0])
    assert {(one.system, one.score) for one in storage.results(tmp_path)} == {("good", 5.0), ("bad", 1.0)}
    checked = storage.checks(tmp_path)["listener001"]
    assert checked.headphones == (6, 6) and checked.attention == (1, 1)
    assert all(one.seconds >= 1.1 for one in storage.results(tmp_path))


def test_mushra_by_mouse_and_keys_with_a_reload(page, clips, tmp_path):
    found = prepared(clips, tmp_path, "mushra")
    pages = pages_of(tmp_path)
    with served(tmp_path) as links:
        begin(page, links[0])
        for number in range(1, len(pages)):
            is_on(page, number, pages)
            scores = tiny_studies.right_answer(found, pages[number])["scores"]
            page.click(".transport button")
            for slot, score in enumerate(scores):
                page.press("ABCDE"[slot])
                pressed = "[...document.querySelectorAll('.rated button')].map((one) => one.ariaPressed)"
                assert page.run(pressed).index("true") == slot
                heard(page, "ABCDE"[slot])
                if slot < 4:
                    rate(page, score)
            page.press("r")
            heard(page, "reference")
            assert page.run("document.querySelector('#hint').textContent") == "Move the slider of E."
            if number == 1:
                page.reload()
                page.click("#go")
                page.wait_for("document.querySelector('#next')")
                kept = page.run("[...document.querySelectorAll('.rated input')].map((one) => Number(one.value))")
                assert kept[:4] == scores[:4]
                assert page.run("document.querySelector('#hint').textContent") == "Move the slider of E."
            page.press("e")
            rate(page, scores[4])
            go_on(page)
        finish(page, links[0])
    by_system = {one.system: one.score for one in storage.results(tmp_path)}
    assert by_system == {"reference": 100.0, "good": 80.0, "bad": 20.0, "anchor35": 20.0, "anchor70": 20.0}
    assert storage.checks(tmp_path)["listener001"].attentive


def rate(page, score):
    """Moves the slider that has the focus, by its keys: from 50, the last steps by arrows."""
    page.run(f"document.activeElement.value = {score + (1 if score < 100 else -1)}")
    page.press("ArrowLeft" if score < 100 else "ArrowRight")


@pytest.mark.parametrize("design", ["ab", "abx"])
def test_pairs(page, clips, tmp_path, design):
    found = prepared(clips, tmp_path, design)
    pages = pages_of(tmp_path)
    with served(tmp_path) as links:
        begin(page, links[0])
        for number in range(1, len(pages)):
            is_on(page, number, pages)
            choice = tiny_studies.right_answer(found, pages[number])["choice"]
            page.click(".transport button")
            heard(page, "A")
            page.click(".sounds button:nth-child(2)")
            heard(page, "B")
            if design == "abx":
                assert page.run("document.querySelector('#hint').textContent") == "Listen to X."
                page.press("x")
                heard(page, "X")
            assert page.run("document.querySelector('#hint').textContent") == "Choose an answer."
            page.click(f"fieldset label:nth-of-type({choice + 1}) input")
            go_on(page)
        finish(page, links[0])
    (result,) = storage.results(tmp_path)
    assert (
        result.correct if design == "abx" else {result.first: "first", result.second: "second"}["good"] == result.chosen
    )


OFFLINE = """(async () => {
  const {Player} = await import("/page/player.js");
  const rate = 16000, length = 32000;
  const context = new OfflineAudioContext(1, length, rate);
  const player = new Player(context);
  const wave = Float32Array.from({length}, (_, n) => Math.sin(n / 7) * (0.2 + n / length / 2));
  const sound = new AudioBuffer({length, sampleRate: rate, numberOfChannels: 1});
  sound.copyToChannel(wave, 0);
  player.buffers = [sound, sound, sound];
  Object.assign(player, {heard: [0, 0, 0], duration: 2, from: 0, to: 2});
  player.loop(LOOP, 0.5, 1.0);
  player.play();
  const positions = [];
  for (const [time, slot] of [[0.4, 1], [0.9, 2], [1.3, 0]]) {
    context.suspend(time).then(() => {
      player.select(slot);
      positions.push([context.currentTime, player.position]);
      context.resume();
    });
  }
  const heard = (await context.startRendering()).getChannelData(0);
  const lead = Math.round(player.started * rate);
  let worst = 0;
  for (let n = 0; n + lead < length; n += 1) {
    const place = EXPECTED;
    worst = Math.max(worst, Math.abs(heard[n + lead] - wave[place]));
  }
  return {worst, positions, seconds: player.heard, lead: lead / rate};
})()"""


@pytest.mark.parametrize(
    ("loop", "expected", "positions"),
    [
        ("false", "n", lambda time: time),
        ("true", "8000 + n % 8000", lambda time: 0.5 + time % 0.5),
    ],
)
def test_switching_loses_no_sample(page, clips, tmp_path, loop, expected, positions):
    """Three times the same sound: however one switches, what comes out is that sound, without a gap or a step."""
    prepared(clips, tmp_path, "ab")
    with served(tmp_path) as links:
        page.open(links[0])
        page.wait_for("document.querySelector('#go')")
        found = page.run(OFFLINE.replace("LOOP", loop).replace("EXPECTED", expected))
    assert found["worst"] < 1e-4
    for time, position in found["positions"]:
        assert position == pytest.approx(positions(time - found["lead"]), abs=1e-3)
    assert found["seconds"][1] == pytest.approx(0.5, abs=0.02) and found["seconds"][2] == pytest.approx(0.4, abs=0.02)
