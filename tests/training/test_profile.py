"""A profiler trace of chosen steps."""

import gzip
import json

import jax
import pytest
import test_loop

from musicgen_jax import config
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.training import profile


def steps_in(workdir):
    """Numbers of the steps in the trace of a run, as its viewers have it."""
    (path,) = (workdir / profile.FOLDER).rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return sorted({int(event["args"]["step_num"]) for event in events if event.get("name") == "train"})


def test_the_trace_has_these_steps_and_no_others(tmp_path, capfd):
    test_loop.run(tmp_path, profile_steps="3:5")
    assert steps_in(tmp_path) == [3, 4]
    assert f"profile of steps 3 to 4: {tmp_path / 'profile'}" in capfd.readouterr().err
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_a_run_that_is_stopped_ends_its_trace(tmp_path, capfd):
    test_loop.train(tmp_path, test_loop.interrupting(at=3, signum=15), profile_steps="2:7")
    assert steps_in(tmp_path) == [2, 3]
    test_loop.train(tmp_path, profile_steps="2:3")
    assert "profile_steps=2:3: this run goes on behind step 3" in capfd.readouterr().err


def test_a_profiler_that_fails_ends_no_run(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(jax.profiler, "start_trace", lambda *_: 1 / 0)
    assert int(test_loop.run(tmp_path, profile_steps="2:4").step) == 6
    assert "warning: the profile could not be begun (division by zero)" in capfd.readouterr().err


def test_without_steps_there_is_no_trace(tmp_path):
    test_loop.run(tmp_path)
    assert not (tmp_path / profile.FOLDER).exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10", "must be FIRST:END, such as 10:13"),
        ("10:", "must be FIRST:END"),
        ("a:b", "must be FIRST:END"),
        ("-1:3", "must be FIRST:END"),
        ("1:2:3", "must be FIRST:END"),
        ("\u0663:\u0665", "must be FIRST:END"),
        ("3:3", "END above it"),
        ("0:3", "FIRST must be at least 1"),
        ("90:102", "the run ends with step 100"),
        ("1:9999999999", "at most 1000 steps"),
    ],
)
def test_other_steps_are_refused(text, message):
    with pytest.raises(UserError, match=message) as caught:
        config.TrainingConfig(num_steps=100, profile_steps=text).validate()
    assert f"training.profile_steps={text!r}" in str(caught.value)


def test_the_last_steps_can_be_traced():
    training = config.TrainingConfig(num_steps=100, profile_steps="99:101")
    training.validate()
    assert list(training.profiled) == [99, 100]
