"""A headless Chromium, driven as a person would: clicks, keys, reloads, by the DevTools protocol over two pipes."""

import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import browser

KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "Tab": 9, "Enter": 13, " ": 32}


class Page:
    """An open tab.

    Attributes:
      requests: addresses that it has asked for.
      errors: what its scripts did not catch, and what it wrote to console.error.
    """

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer, self._rest = reader, writer, b""
        self._numbers = itertools.count(1)
        self._session: dict[str, str] = {}
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        attached = self.command("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command of the protocol and waits for its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            received = self._receive()
            if received.get("id") == number:
                assert "error" not in received, (method, received["error"])
                return received["result"]

    def run(self, script: str) -> Any:
        """The value of an expression, or what its promise comes to."""
        result = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def open(self, url: str) -> None:
        """Goes to an address."""
        self.command("Page.navigate", url=url)

    def reload(self) -> None:
        self.run("window.isOld = true")
        self.command("Page.reload")
        self.wait_for("!window.isOld")

    def wait_for(self, script: str, seconds: float = 20.0) -> None:
        """Returns as soon as an expression is true."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(AssertionError):  # in between two pages there is nothing to evaluate it in
                if self.run(f"!!({script})"):
                    return
            assert time.monotonic() < end, (script, self.errors, self.run("document.body.innerText"))
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """Presses the mouse in the middle of an element, which must be in sight and enabled."""
        self.wait_for(f"document.querySelector({selector!r}) && !document.querySelector({selector!r}).disabled")
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        box = self.run(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def press(self, *keys: str) -> None:
        """Presses keys one after the other."""
        for key in keys:
            code = KEYS.get(key, ord(key[0].upper()))
            named = {"key": key, "windowsVirtualKeyCode": code} | ({"text": key} if len(key) == 1 else {})
            self.command("Input.dispatchKeyEvent", type="keyDown", **named)
            self.command("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def width(self, pixels: int) -> None:
        """Makes it a phone of that width."""
        self.command("Emulation.setDeviceMetricsOverride", width=pixels, height=800, deviceScaleFactor=2, mobile=True)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reader], [], [], 60)
            assert ready, "Chromium says nothing"
            chunk = os.read(self._reader, 1 << 16)
            assert chunk, "Chromium has ended"
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        received = json.loads(message)
        details = received.get("params", {})
        match received.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(details["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(details["exceptionDetails"]))
            case "Log.entryAdded" if details["entry"]["level"] == "error":
                self.errors.append(details["entry"]["text"])
        return received


@contextlib.contextmanager
def chromium(profile: pathlib.Path) -> Iterator[Page]:
    """A tab of a new browser, which ends with the block.

    Args:
      profile: an empty folder for the browser's files.
    """
    from_us, to_browser = os.pipe()
    from_browser, to_us = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD, 64) for end in (from_us, to_us)]
    os.close(from_us)
    os.close(to_us)

    def place() -> None:  # where Chromium looks for them
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--mute-audio", "--disable-sync", "--disable-component-update", f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        [browser.find_chromium() or "chromium", *flags, "--remote-debugging-pipe", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=place,
        pass_fds=(3, 4),
        start_new_session=True,
    )
    for end in high:
        os.close(end)
    try:
        yield Page(from_browser, to_browser)
    finally:
        os.close(to_browser)
        os.close(from_browser)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # of a group of its own
        process.wait()
