"""How long do listeners wait for the server of a listening test, when many take part at once?

    python -m benchmarks.listening_load --listeners=100

Makes a MUSHRA study (ten items of `--seconds`, 44.1 kHz, two systems: six sounds a page) and serves it from a process
of its own, on this machine's disk. Prints two JSON lines; `value` is the 99th percentile of the time from an answer
to its acknowledgement, in milliseconds. Pace "listening": each listener loads the sounds of a page, waits `--pause`
seconds on average, answers, and goes on, for `--pages` pages. Pace "storm": the listeners answer the pages that are
left without loading or waiting, so that each of them has an answer under way at any time. `server_cpu_milliseconds` is
what the server worked for a request of that pace, whatever else the machine does meanwhile (on Linux).
"""

import asyncio
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.parse

import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values
from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.data import audio_io
from musicgen_jax.listening import preparation

_LISTENERS = flags.DEFINE_integer("listeners", 100, "How many take part at once.")
_SECONDS = flags.DEFINE_float("seconds", 10.0, "Length of each sound.")
_PAUSE = flags.DEFINE_float("pause", 10.0, "Seconds that a listener takes for a page, on average.")
_PAGES = flags.DEFINE_integer("pages", 3, "Pages that each answers at this pace.")

SAMPLE_RATE, ITEMS = 44100, 10


class Listener:
    """One of the crowd, on one connection, as a browser keeps it."""

    def __init__(self, link: str, number: int) -> None:
        self._address = urllib.parse.urlsplit(link)
        self._rng = np.random.default_rng(number)
        self.seconds: dict[str, list[float]] = {"session": [], "sound": [], "answer": []}
        self.errors = 0

    async def connect(self) -> None:
        """Opens the connection and asks what the pages are."""
        self._reader, self._writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        self._session = json.loads(await self._request("session", "GET", "session"))
        self._next = self._session["next"]

    async def take_part(self, num_pages: int, pause: float, loads: bool) -> None:
        """Answers so many pages, or all that are left."""
        for _ in range(min(num_pages, len(self._session["pages"]) - self._next)):
            page = self._session["pages"][self._next]
            for slot in range(page["slots"] + page["given"] if loads else 0):
                await self._request("sound", "GET", f"audio/{self._next}/{slot}")
            await asyncio.sleep(self._rng.uniform(0, 2 * pause))
            await self._request("answer", "POST", f"answers/{self._next}", json.dumps(self._answer(page)))
            self._next += 1

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()

    def _answer(self, page: dict) -> dict:
        if page["kind"] == "consent":
            return {"agreed": True, "seconds": 1}
        return {"scores": self._rng.integers(0, 101, page["slots"]).tolist(), "seconds": 1}

    async def _request(self, kind: str, method: str, path: str, body: str = "") -> bytes:
        start = time.perf_counter()
        head = f"{method} {self._address.path}{path} HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        self._writer.write(f"{head}\r\n{body}".encode())
        received = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(received.partition("content-length: ")[2].partition("\r\n")[0])
        content = await self._reader.readexactly(length)
        self.seconds[kind].append(time.perf_counter() - start)
        self.errors += " 200 " not in received.partition("\r\n")[0]
        return content


def main() -> None:
    """Flags -> two JSON lines."""
    flag_values.require_positive(_LISTENERS, _SECONDS, _PAGES)
    with tempfile.TemporaryDirectory() as folder:
        study = _study(pathlib.Path(folder))
        command = [sys.executable, "-m", "musicgen_jax.listen", f"--serve={study}", "--port=0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            links = [server.stdout.readline().strip() for _ in range(_LISTENERS.value)]
            config.require(all(links), "the server did not start: pip install 'musicgen_jax[listen]'")
            try:
                for line in asyncio.run(_crowd(links, server.pid)):
                    print(json.dumps(line), flush=True)
            finally:
                server.terminate()


def _study(folder: pathlib.Path) -> pathlib.Path:
    rng = np.random.default_rng(0)
    for name in ("original", "a", "b"):
        (folder / name).mkdir()
        for item in range(ITEMS):
            audio = 0.1 * rng.standard_normal(round(_SECONDS.value * SAMPLE_RATE))
            audio_io.write_wav(folder / name / f"{item}.wav", audio, SAMPLE_RATE)
    systems = {name: str(folder / name) for name in ("a", "b")}
    settings = preparation.Settings("mushra", systems, str(folder / "original"), headphones=False, max_seconds=60.0)
    preparation.prepare(settings, str(folder / "study"), _LISTENERS.value)
    return folder / "study"


async def _crowd(links: list[str], server: int) -> list[dict]:
    """The lines of both paces; `server` is the number of its process."""
    lines = []
    crowd = [Listener(link, number) for number, link in enumerate(links)]
    await asyncio.gather(*(one.connect() for one in crowd))
    for pace, pages, pause, loads in (("listening", _PAGES.value, _PAUSE.value, True), ("storm", 10**6, 0.0, False)):
        start, worked = time.perf_counter(), _cpu_seconds(server)
        await asyncio.gather(*(one.take_part(pages, pause, loads) for one in crowd))
        lines.append(_line(pace, crowd, time.perf_counter() - start))
        if worked is not None:
            requests = sum(len(times) for one in crowd for times in one.seconds.values())
            lines[-1]["server_cpu_milliseconds"] = round(1000 * (_cpu_seconds(server) - worked) / max(requests, 1), 3)
        for one in crowd:
            one.seconds, one.errors = {kind: [] for kind in one.seconds}, 0
    for one in crowd:
        one.close()
    return lines


def _cpu_seconds(process: int) -> float | None:
    """CPU seconds of all threads of a process so far; None where the system does not tell."""
    stat = pathlib.Path(f"/proc/{process}/stat")
    if not stat.is_file():
        return None
    return sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")


def _line(pace: str, crowd: list[Listener], seconds: float) -> dict:
    times = {kind: [one for listener in crowd for one in listener.seconds[kind]] for kind in crowd[0].seconds}
    milliseconds = {
        f"{kind}_p{percentile}": round(1000 * float(np.percentile(found, percentile)), 1)
        for kind, found in times.items()
        for percentile in (50, 99)
        if found
    }
    return {
        "benchmark": "listening_load",
        "pace": pace,
        "value": milliseconds.get("answer_p99"),
        "unit": "ms",
        "listeners": len(crowd),
        "errors": sum(one.errors for one in crowd),
        "answers": len(times["answer"]),
        "answers_per_second": round(len(times["answer"]) / seconds, 1),
        "milliseconds": milliseconds,
    }


if __name__ == "__main__":
    cli.run(main)
