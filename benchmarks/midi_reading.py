"""How fast are MIDI files read, beside pretty_midi?

    python -m benchmarks.midi_reading --files=DIR [--apply_sustain]

Reads every .mid and .midi file below the folder. Prints one JSON line: `value` is seconds of music read in a second of
this process's time (so that other work on the machine does not count), the best of `--rounds`; `peer` is pretty_midi's,
once, with nothing done about pedals.
"""

import json
import pathlib
import sys
import time
import warnings

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file, it finds its neighbours too

from benchmarks import flag_values
from musicgen_jax import config
from musicgen_jax.command_line import cli
from musicgen_jax.scores import midi

_FILES = cli.define_path("files", None, "Folder of MIDI files, searched recursively.", required=True)
_APPLY_SUSTAIN = flags.DEFINE_boolean("apply_sustain", False, "Also lengthen notes by the pedal.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Our readings of each file.")


def main() -> None:
    """Flags -> one JSON line."""
    flag_values.require_positive(_ROUNDS)
    folder = pathlib.Path(_FILES.value)
    paths = sorted(path for path in folder.rglob("*") if path.suffix in midi.SUFFIXES)
    config.require(bool(paths), f"--files={folder} has no MIDI file in it: pass another folder")
    try:
        import pretty_midi
    except ImportError:
        config.require(False, "the peer needs pretty_midi, which is not installed: pip install pretty_midi")
    music = sum(midi.read(path).seconds for path in paths)
    ours = sum(_best(lambda path=path: midi.read(path, _APPLY_SUSTAIN.value), _ROUNDS.value) for path in paths)
    with warnings.catch_warnings(action="ignore"):  # it warns of what it reads all the same
        peer = sum(_best(lambda path=path: pretty_midi.PrettyMIDI(str(path)), 1) for path in paths)
    line = {"benchmark": "midi_reading", "value": music / ours, "unit": "seconds of music/s", "peer": music / peer}
    print(json.dumps(line | {"ratio_to_peer": peer / ours, "files": len(paths), "sustain": _APPLY_SUSTAIN.value}))


def _best(read, rounds: int) -> float:
    """The shortest time of the process that `read` took."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        read()
        seconds.append(time.process_time() - start)
    return min(seconds)


if __name__ == "__main__":
    cli.run(main)
