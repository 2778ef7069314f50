"""The picture of what samples play."""

import json

import matplotlib.image
import numpy as np
import soundfile

from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.scores import midi
from musicgen_jax.scores.score import Score

SCORE = Score(np.float32([[48, 0.0, 1.0, 90, 0], [67, 1.0, 1.0, 90, 0]]))


def test_a_performance_below_its_score(benchmark, tmp_path):
    audio = synthesizer.render_score(SCORE, timbres.FLUTE, 8000, 2.0)
    soundfile.write(tmp_path / "000.wav", audio, 8000)
    midi.write(tmp_path / "000.mid", SCORE)
    entry = {"file": "000.wav", "genre": "flute"}
    info = {"sample_rate": 8000, "samples": [entry | {"score": "000.mid"}, entry]}
    (tmp_path / "samples.json").write_text(json.dumps(info))
    done = benchmark("readme_picture", f"--samples={tmp_path}", f"--out={tmp_path}/a.png")
    assert done.returncode == 0, done.stderr
    image = matplotlib.image.imread(tmp_path / "a.png")[..., :3]
    assert image.shape[:2] == (495, 540) and image.std() > 0.1
    (tmp_path / "samples.json").write_text(json.dumps(info | {"samples": [entry]}))
    done = benchmark("readme_picture", f"--samples={tmp_path}", f"--out={tmp_path}/b.png")
    assert done.returncode == 1 and "no sample has a score" in done.stderr
