"""Damaged audio files of every container: a reason in one line or a whole decoding, never a traceback or a hang."""

import fuzzing
import numpy as np
import pytest
import sounds

from musicgen_jax.data import audio_io
from musicgen_jax.runtime.errors import UserError

NUM_MUTATIONS = 200
FILES = {
    "wav": lambda: sounds.encoded("WAV", sounds.noise()),
    "rf64.wav": lambda: sounds.encoded("RF64", sounds.noise(), subtype="PCM_24"),
    "aiff.wav": lambda: sounds.encoded("AIFF", sounds.noise()),
    "w64.wav": lambda: sounds.encoded("W64", sounds.noise()),
    "flac": lambda: sounds.encoded("FLAC", sounds.noise()),
    "vorbis.ogg": lambda: sounds.encoded("OGG", sounds.noise()),
    "opus.ogg": lambda: sounds.encoded("OGG", sounds.noise(), subtype="OPUS"),
    "mp3": lambda: sounds.encoded("MP3", sounds.noise(), bitrate_mode="VARIABLE"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damaged_files(tmp_path, name, capsys):
    kept_with_a_warning = 0

    def read(content: bytes) -> None:
        """Checks a file as a data set's, reads it as a prompt, and compares what the two think of it."""
        nonlocal kept_with_a_warning
        facts = sounds.inspected(tmp_path, f"a.{name}", content)
        assert "\n" not in facts.reason + facts.warning
        kept_with_a_warning += bool(facts.warning)
        unfit = facts.reason.startswith(("too short", "silent", "NaN"))  # for training; whole all the same
        try:
            audio = audio_io.read_audio(tmp_path / f"a.{name}", 8000)
        except UserError:
            assert facts.reason and not unfit
            raise
        assert unfit or (not facts.reason and np.isfinite(audio).all()), facts.reason

    figures = fuzzing.survey(read, fuzzing.mutations(FILES[name](), seed=sum(name.encode()), count=NUM_MUTATIONS))
    with capsys.disabled():
        print(f"\n{name}: {figures | {'of these with a warning': kept_with_a_warning}}")
    assert figures["refused"] and figures["read"] + figures["refused"] == NUM_MUTATIONS
