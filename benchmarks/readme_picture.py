"""What the demo's samples look like: the piano roll of each score above the spectrogram of its performance.

    python -m benchmarks.readme_picture --samples=demo/samples --out=docs/demo.png

The spectrogram has a row a quarter tone (constant-Q transform), on the same pitches as the piano roll, so that a note
that is played lies below the note that is written. Thin lines are the notes of the score.
"""

import pathlib
import sys

import librosa
import matplotlib.pyplot as plt
import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from musicgen_jax.command_line import cli
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import output
from musicgen_jax.scores import midi, piano_roll
from musicgen_jax.scores.score import DURATION, ONSET, PITCH, Score

LOWEST, HIGHEST = 36, 96  # MIDI pitches of the pictures
RANGE_DB = 50.0
FRAMES_PER_SECOND = 50

_SAMPLES = cli.define_path("samples", None, "Folder of sample --score.", required=True)
_OUT = cli.define_path("out", None, "Picture to write, .png.", required=True)
_MOST = flags.DEFINE_integer("most", 2, "How many samples, from the first on.")


def main() -> None:
    """Flags -> one picture."""
    info, waveforms = output.read(_SAMPLES.value)
    items = [pair for pair in zip(info["samples"], waveforms, strict=True) if "score" in pair[0]][: _MOST.value]
    if not items:
        raise UserError(f"--samples={_SAMPLES.value}: no sample has a score; sample with --score")
    figure, axes = plt.subplots(2, len(items), figsize=(6 * len(items), 5.5), sharex="col", sharey=True, squeeze=False)
    for column, (item, audio) in enumerate(items):
        score = midi.read(pathlib.Path(_SAMPLES.value) / item["score"])
        seconds = len(audio) / info["sample_rate"]
        draw_score(axes[0, column], score, seconds)
        axes[0, column].set_title(f"composed, for {item['genre']}")
        draw_performance(axes[1, column], audio, info["sample_rate"], score)
        axes[1, column].set_title("performed")
        axes[1, column].set_xlabel("seconds")
    for row in axes[:, 0]:
        row.set_yticks(
            range(LOWEST, HIGHEST + 1, 12), [f"C{pitch // 12 - 1}" for pitch in range(LOWEST, HIGHEST + 1, 12)]
        )
    figure.tight_layout()
    figure.savefig(_OUT.value, dpi=90)
    print(_OUT.value)


def draw_score(axes: plt.Axes, score: Score, seconds: float) -> None:
    """The piano roll: sounding notes, and brighter where they begin."""
    sounding, onsets = piano_roll.planes(score.notes, round(seconds * FRAMES_PER_SECOND), FRAMES_PER_SECOND)
    image = (0.6 * sounding + 0.4 * onsets).T[LOWEST:HIGHEST]
    extent = (0, seconds, LOWEST - 0.5, HIGHEST - 0.5)
    axes.imshow(image, origin="lower", aspect="auto", cmap="magma", vmin=0, vmax=1, extent=extent)


def draw_performance(axes: plt.Axes, audio: np.ndarray, sample_rate: int, score: Score) -> None:
    """The constant-Q spectrogram, with the notes of the score as thin lines."""
    count = 2 * (HIGHEST - LOWEST)
    lowest_hz = librosa.midi_to_hz(LOWEST)
    magnitudes = np.abs(librosa.cqt(audio, sr=sample_rate, fmin=lowest_hz, n_bins=count, bins_per_octave=24))
    decibels = librosa.amplitude_to_db(magnitudes, ref=np.max, top_db=RANGE_DB)
    extent = (0, len(audio) / sample_rate, LOWEST - 0.25, HIGHEST - 0.25)
    axes.imshow(decibels, origin="lower", aspect="auto", cmap="magma", extent=extent)
    for note in score.notes:
        axes.plot([note[ONSET], note[ONSET] + note[DURATION]], [note[PITCH]] * 2, color="white", linewidth=0.5)
    axes.set_xlim(0, len(audio) / sample_rate)


if __name__ == "__main__":
    cli.run(main)
