"""What `extract_codes` does: audio -> codes, of every track of a dataset to code shards, or of one file to another."""

import collections
import pathlib
from collections.abc import Iterator

import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import code_file, code_shards, provenance
from musicgen_jax.codes.layout import Layout
from musicgen_jax.data import audio_check, audio_dataset, audio_io, manifest, output_folder, shards
from musicgen_jax.runtime import console, files, progress_report
from musicgen_jax.tokenizers.tokenizer import Tokenizer


def extract(tokenizer: Tokenizer, data: str, out: str, window_seconds: float) -> None:
    """Writes the codes of all splits of the audio dataset `data` to the folder `out`.

    Memory holds one window of audio and one track's codes, whatever the length of the tracks.

    Args:
      tokenizer: of the codes.
      data: folder of prepare_data, at the tokenizer's sample rate.
      out: folder of the code shards; absent, empty, or holding these codes already, which is said and left as it is.
      window_seconds: about how much audio is encoded at a time.

    Raises:
      NotFoundError: `data` holds no prepared dataset.
      UserError: `data` has another sample rate than the tokenizer; `out` holds something else than these codes.
    """
    layout = tokenizer.layout
    audio_dataset.check_sample_rate(data, layout.sample_rate)
    told, audio = shards.read_metadata(data), provenance.of_audio(data)
    metadata = code_shards.metadata(layout, audio, str(pathlib.Path(data).absolute()), told)
    if is_complete(out, layout, data):
        print(f"{files.describe_path(out)} is complete already, with the same tokenizer and data; nothing to do")
        return
    with output_folder.claim(out, "extract_codes") as folder:
        if not is_complete(out, layout, data):  # it may have been interrupted as it moved into its place
            _write_codes(tokenizer, data, folder, metadata, window_seconds)
    entries = code_shards.read_index(out, layout)
    counts = collections.Counter(entry.split for entry in entries)
    tracks = ", ".join(f"{number} tracks of {split}" for split, number in counts.items())
    rates = ", ".join(f"{name} {layout.bits_per_second(name) / 1000:.2f} kbit/s" for name in layout.names)
    print(f"{files.describe_path(out)}: {tracks}; {rates}")


def _write_codes(tokenizer: Tokenizer, data: str, folder: pathlib.Path, metadata: dict, window_seconds: float) -> None:
    splits, layout = shards.split_names(data), tokenizer.layout
    rows, labels = {row.track_id: row for row in manifest.read(data)}, shards.label_names(data)
    features = code_shards.features(layout, labels, scores="scores" in metadata, lyrics="lyrics" in metadata)
    entries = []
    with (
        shards.ShardWriter(folder, code_shards.DATASET_NAME, features, splits, metadata) as writer,
        progress_report.Progress("extract codes", _seconds(data), "audio-s") as progress,
    ):
        for split in splits:
            for facts, blocks in audio_dataset.read_tracks(data, split):
                codes = tokenizer.encode(_count_seconds(blocks, layout.sample_rate, progress), window_seconds)
                about = {name: facts[name] for name in ("track_id", "labels")}
                texts = about if about["labels"] else {"track_id": facts["track_id"]}
                for segment in code_shards.segments(layout, codes, facts.get("notes"), facts.get("lyrics")):
                    writer.write(split, segment | texts)
                num_samples = len(codes[layout.names[0]]) * layout.hop_length
                row = rows[facts["track_id"]]
                told = {"num_samples": num_samples, "score": row.score, "lyrics": row.lyrics}
                entries.append(code_shards.TrackEntry(**about, split=split, **told))
        code_shards.write_index(writer.path, entries)
        code_shards.write_codebooks(writer.path, tokenizer.codebooks())


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
    print(f"{out}: {recording.seconds:.2f} s, {pathlib.Path(out).stat().st_size} bytes")
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


def _seconds(data: str) -> float:
    """Length of all tracks of a dataset together."""
    return sum(row.num_samples for row in manifest.read(data)) / shards.read_metadata(data)["sample_rate"]


def _count_seconds(
    blocks: Iterator[np.ndarray], sample_rate: int, progress: progress_report.Progress
) -> Iterator[np.ndarray]:
    for block in blocks:
        yield block
        progress.update(len(block) / sample_rate)
