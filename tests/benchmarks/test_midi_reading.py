"""The benchmark of MIDI files on a small one."""

import json

import pytest

from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score


def test_a_line(benchmark, tmp_path):
    pytest.importorskip("pretty_midi", reason="pretty_midi is not installed: pip install '.[test]'")
    midi.write(tmp_path / "a.mid", Score([[60, n / 4, 0.2, 64, 0] for n in range(100)]))
    done = benchmark("midi_reading", f"--files={tmp_path}", "--rounds=1")
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert line["files"] == 1 and line["value"] > 0 and line["ratio_to_peer"] > 1
    nothing = benchmark("midi_reading", f"--files={tmp_path / 'none'}")
    assert nothing.returncode == 1 and "has no MIDI file in it" in nothing.stderr
