"""The benchmark of the notes that a tokenizer leaves, on music of the synthesizer."""

import json

import command_line
import numpy as np
import pytest
import soundfile
import tiny_workdirs

from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

RATE = 4000


@pytest.mark.long
def test_a_line_for_the_recordings_and_one_a_stream(benchmark, tiny_tokenizer, tmp_path):
    organ = next(one for one in timbres.ALL if one.name == "organ")
    (tmp_path / "music" / "organ").mkdir(parents=True)
    for piece in range(12):
        pitches = np.random.default_rng(piece).integers(55, 80, 6)
        score = Score([[pitch, 0.5 * step, 0.45, 90, 0] for step, pitch in enumerate(pitches)])
        audio = synthesizer.render_score(score, organ, RATE)
        soundfile.write(tmp_path / f"music/organ/{piece}.wav", audio, RATE)
        midi.write(tmp_path / f"music/organ/{piece}.mid", score)
    made = ("--dataset=recordings", f"--source={tmp_path}/music", f"--sample_rate={RATE}", f"--out={tmp_path}/audio")
    assert command_line.run("musicgen_jax.prepare_data", *made).returncode == 0
    tiny_workdirs.write(tmp_path / "models", tiny_tokenizer)
    where = f"--vqvae={tmp_path}/models/vqvae", f"--data={tmp_path}/audio"
    done = benchmark("decoded_notes", *where, "--seconds=2")
    assert done.returncode == 0, done.stderr
    found = {line["audio"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert list(found) == ["real", "top", "middle", "bottom"]
    assert found["real"]["value"] > 0.8 > found["top"]["value"]  # its weights are random
    assert all(line["num_pieces"] == found["real"]["num_pieces"] >= 1 for line in found.values())


def test_samples_are_heard_by_the_network_alone(benchmark, tmp_path):
    done = benchmark("decoded_notes", f"--vqvae={tmp_path}", f"--data={tmp_path}", f"--samples={tmp_path}")
    assert done.returncode == 1 and "--samples: its notes are heard by --transcribe" in done.stderr
