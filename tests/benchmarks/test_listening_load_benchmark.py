"""The benchmark of the listening test's server, on a small crowd."""

import json

import pytest

pytest.importorskip("uvicorn", reason="the extra listen is not installed")


@pytest.mark.slow
def test_a_small_crowd_gets_all_its_answers_stored(benchmark):
    done = benchmark("listening_load", "--listeners=3", "--seconds=1", "--pages=2", "--pause=0.01")
    assert done.returncode == 0, done.stderr
    paced, storm = map(json.loads, done.stdout.splitlines())
    assert (paced["pace"], paced["answers"], paced["errors"]) == ("listening", 6, 0)
    # Consent, practice, ten trials and an attention check each, of which two pages are answered already.
    assert (storm["pace"], storm["answers"], storm["errors"]) == ("storm", 3 * 11, 0)
    assert paced["value"] == paced["milliseconds"]["answer_p99"] > 0 and "sound_p99" not in storm["milliseconds"]
