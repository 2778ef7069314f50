"""What `extract_codes` does: audio -> codes, of every track of a dataset to code shards, or of one file to another."""

import collections
import functools
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

import musicgen_jax
from musicgen_jax import config
from musicgen_jax.codes import code_file, code_shards, provenance
from musicgen_jax.codes.layout import Layout
from musicgen_jax.data import audio_check, audio_dataset, audio_io, output_folder, shards
from musicgen_jax.runtime import buckets, console, files, progress_report
from musicgen_jax.tokenizers import code_job
from musicgen_jax.tokenizers.tokenizer import Tokenizer

BATCH_SIZE = 8  # windows
BATCH_SIZE_ON_CPU = 2  # what a window is made of is more than the caches hold as it is
POLL_SECONDS = 0.5  # between two looks at what other processes have done


def extract(tokenizer: Tokenizer, data: str, out: str, window_seconds: float, batch_size: int | None = None) -> None:
    """Writes the codes of all splits of the audio dataset `data` to the folder `out`.

    Memory holds some windows of audio and the codes of some tracks, whatever the length of the tracks. Of several
    processes of JAX, which must see both folders, each writes its share of the files; a run that was stopped is gone on
    with by the next one. The codes are the same, byte for byte, either way.

    Args:
      tokenizer: of the codes.
      data: folder of prepare_data, at the tokenizer's sample rate.
      out: folder of the code shards; absent, empty, or holding these codes already, which is said and left as it is.
      window_seconds: about how much audio a window has.
      batch_size: windows encoded at a time; None is 8, or 2 on a CPU.

    Raises:
      NotFoundError: `data` holds no prepared dataset.
      UserError: `data` has another sample rate than the tokenizer; `out` holds something else than these codes; or
        there would be no window in a batch.
    """
    if batch_size is None:
        batch_size = BATCH_SIZE_ON_CPU if jax.default_backend() == "cpu" else BATCH_SIZE
    config.require(batch_size > 0, f"`batch_size`={batch_size}: must be 1 or more")
    layout = tokenizer.layout
    audio_dataset.check_sample_rate(data, layout.sample_rate)
    where = buckets.url_of(data) or str(pathlib.Path(data).absolute())
    told, audio = shards.read_metadata(data), provenance.of_audio(data)
    metadata = code_shards.metadata(layout, audio, where, told)
    if is_complete(out, layout, data):
        if jax.process_index() == 0:
            print(f"{files.describe_path(out)} is complete already, with the same tokenizer and data; nothing to do")
        return
    job = json.dumps([musicgen_jax.__version__, metadata])
    work = functools.partial(_write_share, tokenizer, data, "lyrics" in told, window_seconds, batch_size)
    if jax.process_index():
        _take_part(output_folder.Place(pathlib.Path(os.path.realpath(out))), job, work)
        return
    with output_folder.claim(out, "extract_codes") as folder:
        if not is_complete(out, layout, data):  # it may have been interrupted as it moved into its place
            with output_folder.fill(folder, job) as place:
                if not code_job.is_planned(place):
                    code_job.write_plan(place, code_job.find_sources(tokenizer.encoder(window_seconds), data))
                made = work(place)
                _wait(lambda: made.is_written(place))  # by the others
                made.describe(place, metadata)
                code_shards.write_codebooks(place.partial, tokenizer.codebooks())
    entries = code_shards.read_index(out, layout)
    counts = collections.Counter(entry.split for entry in entries)
    tracks = ", ".join(f"{number} tracks of {split}" for split, number in counts.items())
    rates = ", ".join(f"{name} {layout.bits_per_second(name) / 1000:.2f} kbit/s" for name in layout.names)
    print(f"{files.describe_path(out)}: {tracks}; {rates}")


def _take_part(place: output_folder.Place, job: str, work: Callable[[output_folder.Place], Any]) -> None:
    """What a process does that is not the first: its share, between the first one's plan and the end of all."""
    whole = functools.partial(shards.is_complete, place.folder)
    _wait(lambda: whole() or (place.is_of(job) and code_job.is_planned(place)))
    if not whole():
        work(place)
        _wait(whole)


def _wait(done: Callable[[], bool]) -> None:
    """Until what other processes do is done; should one of them end, `distributed.processes` ends this one."""
    while not done():
        time.sleep(POLL_SECONDS)


def _write_share(
    tokenizer: Tokenizer, data: str, lyrics: bool, window_seconds: float, batch_size: int, place: output_folder.Place
) -> code_job.CodeJob:
    """Writes every so many-th file, as many as there are processes."""
    sources, labels = code_job.read_plan(place), shards.label_names(data)
    scores = "scores" in shards.read_metadata(data)
    features = code_shards.features(tokenizer.layout, labels, scores=scores, lyrics=lyrics)
    made = code_job.CodeJob(tokenizer.encoder(window_seconds), data, sources, features)
    share = made.shards[jax.process_index() :: jax.process_count()]
    with progress_report.Progress("extract codes", sum(map(made.seconds, share)), "audio-s") as progress:
        made.write(place, share, batch_size, progress)
    return made


def extract_file(tokenizer: Tokenizer, path: str, out: str, window_seconds: float) -> None:
    """Writes the codes of one recording to the file `out`, and prints the bit rate of each stream.

    Args:
      tokenizer: of the codes.
      path: any audio file that the package reads; mixed down and resampled as `data.audio_io.read_blocks` does.
      out: file to write; absent.
      window_seconds: audio encoded at a time.

    Raises:
      NotFoundError: there is no such recording.
      UserError: the recording can't be decoded to its end or holds no audio.
      UserError: there is something in the place of `out`.
    """
    with code_file.new_file(out) as partial:
        num_samples, codes = _encode_file(tokenizer, path, window_seconds)
        recording = code_file.Recording(tokenizer.layout, num_samples, codes)
        code_file.write(partial, recording)
    print(f"{files.describe_path(out)}: {recording.seconds:.2f} s, {pathlib.Path(out).stat().st_size} bytes")
    for tier in codes:
        print(_describe_rate(recording, tier))


def _encode_file(tokenizer: Tokenizer, path: str, window_seconds: float) -> tuple[int, dict[str, np.ndarray]]:
    """(length of the recording in samples at the tokenizer's rate, {stream: int16 [T, Q]})."""
    sample_rate, sizes = tokenizer.layout.sample_rate, []
    seconds = _checked_seconds(path)
    with progress_report.Progress("extract codes", seconds, "audio-s") as progress:

        def blocks() -> Iterator[np.ndarray]:
            for block in audio_io.read_blocks(path, sample_rate):
                sizes.append(len(block))
                yield block

        codes = tokenizer.encode(_count_seconds(blocks(), sample_rate, progress), window_seconds)
    config.require(sum(sizes) > 0, f"{path} holds no audio: not one sample at {sample_rate} Hz")
    return sum(sizes), codes


def _checked_seconds(path: str) -> float:
    """Length of a recording that can be decoded to its end; a silent one is as good as any other."""
    files.require_file(path, "audio file")
    facts = audio_check.inspect(path, min_seconds=0.0)
    fit = not facts.reason or facts.reason.startswith("silent")
    config.require(fit, f"{files.describe_path(path)}: {facts.reason}")
    if facts.warning:
        console.say(f"note: {files.describe_path(path)}: {facts.warning}")
    return facts.duration


def _describe_rate(recording: code_file.Recording, name: str) -> str:
    """One line: what the stream's codes take by their number, and what they take in the file."""
    layout, stream = recording.layout, recording.layout.stream(name)
    num_frames, num_codebooks = recording.codes[name].shape
    nominal, rate = layout.bits_per_second(name) / 1000, layout.frames_per_second(name) * num_codebooks
    in_file = code_file.packed_bytes(num_frames * num_codebooks, stream.num_codes)
    return (
        f"{name}: {nominal:.2f} kbit/s ({rate:g} codes/s x {np.log2(stream.num_codes):.4g} bits); "
        f"{in_file} bytes in the file ({in_file * 8 / recording.seconds / 1000:.2f} kbit/s)"
    )


def is_complete(out: str, layout: Layout, data: str) -> bool:
    """Whether `out` already holds these codes, wherever the tokenizer and the audio lay when they were made.

    Args:
      out: folder.
      layout: of the tokenizer whose codes are wanted.
      data: the audio that they are wanted of.

    Raises:
      UserError: it holds codes of another tokenizer or of other audio.
    """
    if not ((pathlib.Path(out) / code_shards.INDEX_NAME).is_file() and shards.is_complete(out)):
        return False
    found, wanted = code_shards.read_facts(out).layout.in_words(), layout.in_words()
    different = [f"{name} {found[name]}, now {value}" for name, value in wanted.items() if found[name] != value]
    different += filter(None, [provenance.other_audio(out, data)])
    config.require(
        not different, f"{out} holds other codes ({'; '.join(different)}); remove it or choose another `out`"
    )
    return True


def _count_seconds(
    blocks: Iterator[np.ndarray], sample_rate: int, progress: progress_report.Progress
) -> Iterator[np.ndarray]:
    for block in blocks:
        yield block
        progress.update(len(block) / sample_rate)
