"""Who takes part in a run of several processes: a line between process 0 and every other, open as long as the run is.

JAX's own start-up does not say whom it waits for, and a process whose partner died learns of it in a collective that
hangs or in C++ that aborts. Here every process gives its number and host first, so that a missing one is named; later
the line carries why a process failed, and a line that breaks says that a process was killed.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator

from musicgen_jax.runtime.errors import UnreachableError, UserError

# A host that vanishes closes no connection: probed after 20 s of silence, given up 20 s later.
KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
HELLO_SECONDS = 10  # for a process that has connected to say who it is


def gather(address: str, num_processes: int, process_id: int, seconds: float) -> "Company":
    """Waits until all processes have said that they are there.

    Process 0 listens on the coordinator's port and leaves it free again: JAX's coordinator takes it next.

    Args:
      address: HOST:PORT of process 0.
      num_processes: all of them.
      process_id: of this one.
      seconds: to wait.

    Raises:
      UnreachableError: some did not come; names them. The same error on every process that came.
      UserError: two processes have the same number, or disagree on how many there are.
    """
    deadline = time.monotonic() + seconds
    if process_id == 0:
        return _listen(int(address.rsplit(":", 1)[1]), num_processes, seconds, deadline)
    return _call(address, num_processes, process_id, seconds, deadline)


class Company:
    """The processes of a run that is under way. Threads watch the lines: when a process is gone, this one says so and
    ends, with exit code 1.

    Attributes:
      hosts: name of each process's host.
    """

    def __init__(self, process_id: int, hosts: list[str], lines: dict[int, "Line"]):
        self.hosts = hosts
        self._process_id, self._lines = process_id, lines
        self._closed = False
        self._end = threading.Lock()
        for process, line in lines.items():
            threading.Thread(target=self._watch, args=(process, line), daemon=True).start()

    def tell_failure(self, why: str) -> None:
        """Tells the others why this process is about to end."""
        self._closed = True
        self._tell({"process": self._process_id, "why": why})

    def close(self) -> None:
        """From here on it is right that processes end."""
        self._closed = True
        self._tell({"bye": True})

    def _tell(self, message: dict) -> None:
        for line in self._lines.values():
            with contextlib.suppress(OSError):  # gone itself: whoever is left hears of it
                line.send(message)

    def _watch(self, process: int, line: "Line") -> None:
        lost, why = process, "killed, or its host or network is down"
        for message in line.messages():
            if "bye" in message:
                return
            lost, why = message["process"], message["why"]
            break
        with self._end:
            if self._closed:
                return
            self._tell({"process": lost, "why": why})  # from process 0 to all others; they know no line but this one
            print(
                f"error: process {lost} of {len(self.hosts)} (host {self.hosts[lost]}) is gone: {why}. All processes "
                "stop with it; run the same command again: it goes on from what is saved",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)  # the main thread may wait in a collective that never returns


class Line:
    """A connection that carries JSON objects, one a line of text."""

    def __init__(self, connection: socket.socket):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        connection.settimeout(HELLO_SECONDS)
        self._connection = connection
        self._reader = connection.makefile("r", encoding="utf-8", errors="replace")

    def send(self, message: dict) -> None:
        self._connection.sendall((json.dumps(message) + "\n").encode())

    def receive(self, seconds: float) -> dict | None:
        """The next message; None if the other side closes, is silent for so long, or speaks another language."""
        self._connection.settimeout(seconds)
        try:
            message = json.loads(self._reader.readline())
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def messages(self) -> Iterator[dict]:
        """Messages until the line breaks."""
        while (message := self.receive(seconds=None)) is not None:
            yield message

    def close(self) -> None:
        self._reader.close()
        self._connection.close()


def _listen(port: int, num_processes: int, seconds: float, deadline: float) -> Company:
    hosts = {0: socket.gethostname()}
    lines: dict[int, Line] = {}
    problem = None
    with _server(port) as server:
        while len(hosts) < num_processes and problem is None:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                break
            line = Line(connection)
            hello = line.receive(HELLO_SECONDS)
            if hello is None or "host" not in hello:
                line.close()  # not one of ours
                continue
            problem = _objection(hello, hosts, num_processes)
            process = len(hosts) if problem else hello["process"]
            hosts[process], lines[process] = hello["host"], line
    error: Exception | None = None if problem is None else UserError(problem)
    if error is None and len(hosts) < num_processes:
        error = TimeoutError(_absence(hosts, num_processes, seconds))
    answer = {"refused": str(error)} if error else {"hosts": [hosts[process] for process in range(num_processes)]}
    for line in lines.values():
        line.send(answer)
    if error is not None:
        raise error
    return Company(0, answer["hosts"], lines)


def _objection(hello: dict, hosts: dict[int, str], num_processes: int) -> str | None:
    process, host = hello["process"], hello["host"]
    if hello["num_processes"] != num_processes:
        return (
            f"process {process} (host {host}) was started as one of {hello['num_processes']} processes, process 0 "
            f"(host {hosts[0]}) as one of {num_processes}: start all with the same number"
        )
    if process in hosts:
        return f"two processes have the number {process}, on the hosts {hosts[process]} and {host}: number them anew"
    return None


def _absence(hosts: dict[int, str], num_processes: int, seconds: float) -> str:
    absent = [process for process in range(num_processes) if process not in hosts]
    present = ", ".join(f"{process} (host {host})" for process, host in sorted(hosts.items()))
    return (
        f"{len(absent)} of {num_processes} processes did not come within {seconds:.0f} s: missing "
        f"{', '.join(map(str, absent))}; present {present}. Look at the logs of the missing ones, and whether their "
        "hosts reach process 0's"
    )


def _server(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True)
    return socket.create_server(("", port), backlog=1024)


def _call(address: str, num_processes: int, process_id: int, seconds: float, deadline: float) -> Company:
    name, port = address.rsplit(":", 1)
    hello = {"process": process_id, "num_processes": num_processes, "host": socket.gethostname()}
    reason = "no answer"
    while time.monotonic() < deadline:
        try:
            line = Line(socket.create_connection((name.strip("[]"), int(port)), timeout=HELLO_SECONDS))
            line.send(hello)
            # Process 0 may have begun to wait later than this one; its answer comes at its own deadline at the latest.
            answer = line.receive(seconds + HELLO_SECONDS)
        except OSError as error:
            answer, reason = None, error
        if answer is None:
            time.sleep(0.1)
        elif "refused" in answer:
            problem = answer["refused"]
            raise UnreachableError(problem) if "did not come" in problem else UserError(problem)
        else:
            return Company(process_id, answer["hosts"], {0: line})
    raise UnreachableError(
        f"process {process_id} of {num_processes} (host {hello['host']}) did not reach process 0 at {address} within "
        f"{seconds:.0f} s ({reason}): process 0 is missing, or its port is closed"
    )
