"""A test without the marker `long`, `slow` or `parity` fails beyond LIMIT seconds; the slowest are listed after a run.

What counts is CPU time: of this process with all its threads, and of the processes that it started and waited for.
Processes that crowd each other out of the caches take more of it: on a machine with more to do than it has processors
the limit grows with its load. A test that waits instead of working is found by the clock on the wall, of which
a tenth counts. Fixtures of a module or of the session are shared: they count for no test, but are listed.

What stands still, fixtures included, for STANDSTILL seconds ends its process with the stack of every thread.
"""

import faulthandler
import os
import sys
import time
from collections.abc import Iterator

import command_line
import pytest

# Where XLA has no older emitters (conftest.py), and where it optimises, it compiles several times slower: there
# the limit catches only what has gone wrong.
LIMIT = 5.0 if "xla_cpu_use_fusion_emitters=false" in os.environ["XLA_FLAGS"] else 60.0
LISTED = 15
STANDSTILL = 1200


def cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system + command_line.children_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    faulthandler.dump_traceback_later(STANDSTILL, exit=True, file=sys.__stderr__)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest) -> Iterator[None]:
    start = cpu_seconds()
    result = yield
    if fixturedef.scope != "function":
        seconds = cpu_seconds() - start
        request._pyfuncitem.user_properties.append((f"fixture {fixturedef.argname}", seconds))
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    cpu, wall = cpu_seconds(), time.monotonic()
    result = yield
    seconds = max(cpu_seconds() - cpu, (time.monotonic() - wall) / 10)
    item.user_properties.append(("test", seconds))
    crowding = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    limited = not any(item.get_closest_marker(name) for name in ("long", "slow", "parity"))
    if limited and seconds > LIMIT * crowding:
        limit = f"{LIMIT:.0f} s (at this load {LIMIT * crowding:.0f})"
        pytest.fail(f"{seconds:.1f} s of CPU time: make it faster than {limit}, or mark it long", pytrace=False)
    return result


def pytest_terminal_summary(terminalreporter) -> None:
    spent = [
        (seconds, f"{report.nodeid} {name}")
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, seconds in report.user_properties
        if name == "test" or name.startswith("fixture ")
    ]
    terminalreporter.section("CPU time")
    terminalreporter.line(f"{sum(seconds for seconds, _ in spent):.0f} s in tests and shared fixtures; the slowest:")
    for seconds, name in sorted(spent, reverse=True)[:LISTED]:
        terminalreporter.line(f"{seconds:6.2f} s {name}")
