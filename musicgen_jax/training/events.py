"""What TensorBoard shows of a run, in WORKDIR/events.out.tfevents.*: the values of metrics.jsonl, sounds and pictures.

The files are sequences of records, as TensorFlow's `tf.io.TFRecordWriter` has them: length, its checksum, an Event as
protocol buffer, its checksum.
"""

import pathlib
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from google.protobuf import message
from tensorboardX import summary
from tensorboardX.proto import event_pb2, summary_pb2
from tensorboardX.record_writer import masked_crc32c

from musicgen_jax.audio import spectrogram_image
from musicgen_jax.runtime import console

# Name -> (float [S], mono, and its sample rate in Hz).
Sounds = Mapping[str, tuple[np.ndarray, int]]

PREFIX = "events.out.tfevents."
CHECKED_BYTES = 2**16  # of larger events, which have sounds, the checksum is not computed: in Python that takes seconds
HEADER, FOOTER = struct.Struct("<QI"), struct.Struct("<I")


class EventWriter:
    """Appends events; only process 0 writes. A run is not ended by what cannot be written: that is said, once.

    Starting at `step`, it first cuts what earlier runs of the command wrote of later steps: they will be taken, and
    logged, again. Each run writes a file of its own, whose name comes after those.
    """

    def __init__(self, workdir: pathlib.Path, step: int):
        self._workdir, self._step = pathlib.Path(workdir), step
        self._path: pathlib.Path | None = None
        self._writes = jax.process_index() == 0
        for path in files_in(workdir) if self._writes else ():
            try:
                _cut(path, step)
            except OSError as error:
                console.say(f"warning: TensorBoard may show steps after {step} twice: {path.name} ({error})")

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Writes values by name; None is not a number."""
        known = {name: np.nan if value is None else value for name, value in values.items()}
        self._write(step, [summary.scalar(name, value) for name, value in known.items()])

    def sounds(self, step: int, sounds: Sounds) -> None:
        """Writes sounds, each with its spectrogram; what is beyond full scale is clipped."""
        found = []
        for name, (audio, sample_rate) in sounds.items():
            heard = np.clip(np.nan_to_num(np.asarray(audio, np.float32)), -1, 1)
            found.append(summary.audio(name, heard[:, None], sample_rate))
            picture = spectrogram_image.of_audio(heard, sample_rate)
            found.append(summary.image(name, picture, dataformats="HWC"))
        self._write(step, found)

    def _write(self, step: int, summaries: list[Any]) -> None:
        if not self._writes or not summaries:
            return
        values = [value for one in summaries for value in one.value]
        events = [event_pb2.Event(step=step, summary=summary_pb2.Summary(value=values))]
        try:
            if self._path is None:
                self._path = _new_file(self._workdir)
                begun = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
                # Whoever reads a file of an earlier run forgets what comes after this step.
                session = event_pb2.Event(step=self._step + 1, session_log=begun)
                events = [event_pb2.Event(file_version="brain.Event:2"), session, *events]
            for event in events:
                event.wall_time = time.time()
            with self._path.open("ab") as file:
                file.write(b"".join(_record(event.SerializeToString()) for event in events))
        except OSError as error:
            self._writes = False
            console.say(f"warning: no more TensorBoard events of this run ({error}); training goes on")


def files_in(workdir: pathlib.Path) -> list[pathlib.Path]:
    """The files of events in a folder, in the order that they were begun in."""
    return sorted(pathlib.Path(workdir).glob(f"{PREFIX}*"))


def read(path: pathlib.Path) -> Iterator[tuple[int, Any]]:
    """The whole events of a file: (where each ends, the Event); none behind one that is torn or damaged."""
    with path.open("rb") as file:
        while len(header := file.read(HEADER.size)) == HEADER.size:
            length, checksum = HEADER.unpack(header)
            if masked_crc32c(header[:8]) != checksum or len(content := file.read(length)) < length:
                return
            footer = file.read(FOOTER.size)
            whole = length > CHECKED_BYTES or footer == FOOTER.pack(masked_crc32c(content))
            if len(footer) < FOOTER.size or not whole:
                return
            try:
                event = event_pb2.Event.FromString(content)
            except message.DecodeError:
                return
            yield file.tell(), event


def _new_file(workdir: pathlib.Path) -> pathlib.Path:
    """Named by the time, as TensorBoard wants it, and where there are several of a second by their number."""
    return workdir / f"{PREFIX}{int(time.time()):010d}.{len(files_in(workdir)):04d}"


def _cut(path: pathlib.Path, step: int) -> None:
    """Cuts the values of steps after `step`, and what is torn behind the last whole event."""
    kept = 0
    for end, event in read(path):
        if event.step > step and event.HasField("summary"):
            break
        kept = end
    if kept < path.stat().st_size:
        with path.open("rb+") as file:
            file.truncate(kept)


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + FOOTER.pack(masked_crc32c(length)) + content + FOOTER.pack(masked_crc32c(content))
