"""The benchmark of fine-tuning: refused flags, pieces of a recording, sizes by the facts beside a checkpoint."""

import numpy as np
import pytest
import soundfile


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ranks=0"], "--ranks=0: must be whole numbers, at least 1 each"),
        (["--steps=0"], "--steps=0: must be at least 1"),
        (["--seconds=0.5"], "--seconds=0.5: must be at least 1"),
        ([], "is 2 pieces of --seconds: at least 3 are needed"),
    ],
)
def test_a_bad_flag_is_one_line(benchmark, tmp_path, flags, message):
    soundfile.write(tmp_path / "song.wav", np.zeros(16000 * 25), 16000)
    done = benchmark("finetuning", f"--out={tmp_path}/out", f"--recording={tmp_path}/song.wav", *flags)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr
    assert not (tmp_path / "out").exists()
