"""A side in a process of its own: it has the flags, keeps what it made, waits without working, ends with the block."""

import os
import pathlib
import time

import pytest
from absl import flags

from benchmarks import sides, timing
from musicgen_jax.runtime.errors import UserError

_NUMBER = flags.DEFINE_integer("number_of_the_sides_test", 1, "Differs over there only if flags do not travel.")


def make_counter(path: str):
    calls = []

    def count() -> None:
        calls.append(_NUMBER.value)
        time.sleep(0.05)
        pathlib.Path(path).write_text(repr(calls))

    return {"count": count}, {"pid": os.getpid()}


def refuse():
    raise UserError("no such peer; install it")


def die():
    os._exit(3)


def cpu_ticks(pid: int) -> int:
    """User and system time of a process, in hundredths of a second."""
    return sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def test_a_side_has_the_flags_keeps_its_state_and_rests(tmp_path):
    flags.FLAGS.number_of_the_sides_test = 7
    with sides.apart(make_counter, str(tmp_path / "calls")) as (programs, found):
        assert found["pid"] != os.getpid()
        assert 0.05 <= programs["count"]() < 5
        programs["count"]()
        assert (tmp_path / "calls").read_text() == "[7, 7]"
        before = cpu_ticks(found["pid"])
        time.sleep(0.5)
        assert cpu_ticks(found["pid"]) - before <= 1
    assert not pathlib.Path(f"/proc/{found['pid']}").exists()


@pytest.mark.long
def test_errors_over_there_arrive_here():
    with pytest.raises(UserError, match="no such peer"), sides.apart(refuse):
        pass
    with pytest.raises(UserError, match="exit code 3"), sides.apart(die):
        pass


def test_medians_are_of_the_rounds_behind_the_warm_up(monkeypatch):
    monkeypatch.setattr(timing, "WARM_UP_ROUNDS", 2)
    seconds = iter([9.0, 8.0, 3.0, 1.0, 2.0])
    order = []
    programs = {"ours": lambda: order.append("ours")}
    found = timing.interleaved(programs, 3, {"theirs": lambda: order.append("theirs") or next(seconds)})
    assert found["theirs"] == 2.0 and 0 <= found["ours"] < 1
    assert order == ["ours", "theirs"] * 5
