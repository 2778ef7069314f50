"""Opens a page in headless Chromium and reports what a reader would get: errors, players, pictures, requests."""

import html
import json
import pathlib
import re
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# First in the head, so that nothing can fail before it listens.
LISTEN = """<script>
window.probe = {errors: []};
window.addEventListener("error", (event) => {
  const source = event.target && event.target !== window ? event.target.tagName + " failed to load" : event.message;
  window.probe.errors.push(String(source));
}, true);
window.addEventListener("unhandledrejection", (event) => window.probe.errors.push("rejection: " + event.reason));
const logged = console.error;
console.error = (...words) => { window.probe.errors.push(words.join(" ")); logged.apply(console, words); };
</script>"""

REPORT = """<script>
window.addEventListener("load", async () => {
  const metadata = (audio) => new Promise((resolve) => {
    if (audio.readyState >= 1 || audio.error) return resolve();
    audio.addEventListener("loadedmetadata", resolve);
    audio.addEventListener("error", resolve);
  });
  const players = Array.from(document.querySelectorAll("audio"));
  await Promise.race([Promise.all(players.map(metadata)), new Promise((resolve) => setTimeout(resolve, 15000))]);
  window.probe.players = players.map((audio) => ({
    name: audio.dataset.name || audio.getAttribute("aria-label") || "",
    duration: Number.isFinite(audio.duration) ? audio.duration : 0,
  }));
  window.probe.broken_images = Array.from(document.images).filter((image) => !image.naturalWidth).length;
  // A page opened from a file has no timings for files, so what its elements ask for is listed too.
  const elements = Array.from(document.querySelectorAll("[src], link[href]"));
  window.probe.requests = performance.getEntriesByType("resource").map((entry) => entry.name)
    .concat(elements.map((element) => element.src || element.href))
    .filter((name) => !name.startsWith("data:"));
  window.probe.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  window.probe.result = await (async () => {/* SCRIPT */})();
  const result = document.createElement("pre");
  result.id = "probe-result";
  result.textContent = JSON.stringify(window.probe);
  document.body.appendChild(result);
});
</script>"""


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome, or None."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


def open_page(
    page: pathlib.Path, scratch: pathlib.Path, *, width: int = 1280, script: str = "", timeout: float = 90.0
) -> dict:
    """Opens a copy of an HTML file with a probe inside and waits until every player knows its length.

    Args:
      page: the file; it is not changed.
      scratch: an empty folder for the copy and the browser's profile.
      width: of the window, in CSS pixels.
      script: body of an asynchronous function that runs when all players know their length.
      timeout: seconds until the browser is stopped.

    Returns:
      errors: messages of script errors, console.error and elements that failed to load.
      players: [{"name", "duration" in seconds, 0 where it is unknown}] of every <audio>.
      broken_images: number of pictures that show nothing.
      requests: addresses that the page asks for and that are not data URIs.
      overflow: how many pixels the page is wider than the window.
      result: what `script` returned.
    """
    source = page.read_text(encoding="utf-8")
    if "<head>" not in source or "</body>" not in source:
        raise ValueError(f"{page} has no <head> or no </body>: the probe has no place in it")
    source = source.replace("<head>", "<head>" + LISTEN, 1)
    before, _, after = source.rpartition("</body>")
    probed = scratch / "probed.html"
    report = REPORT.replace("/* SCRIPT */", script)
    probed.write_text(before + report + "</body>" + after, encoding="utf-8")
    shown = subprocess.run(
        [*_command(scratch, width), "--virtual-time-budget=20000", "--dump-dom", probed.as_uri()],
        capture_output=True,
        timeout=timeout,
        check=True,
    ).stdout.decode("utf-8", "replace")
    found = re.search(r'<pre id="probe-result">(.*?)</pre>', shown, re.DOTALL)
    if not found:
        raise RuntimeError(f"the page did not come to rest within the browser's time budget: {shown[-500:]}")
    return json.loads(html.unescape(found.group(1)))


def _command(scratch: pathlib.Path, width: int) -> list[str]:
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    profile = f"--user-data-dir={scratch / 'profile'}"
    size = f"--window-size={width},1000"
    return [find_chromium() or "chromium", "--headless", "--no-sandbox", "--disable-gpu", *quiet, profile, size]
