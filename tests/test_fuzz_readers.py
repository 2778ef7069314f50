"""Every reader answers damaged files with one line: no traceback, no hang, no memory beyond reason."""

import itertools
import json
import pathlib
import shutil
import struct
import zlib
from collections.abc import Iterator

import fuzzing
import numpy as np
import pytest
import soundfile
import tiny_text

from musicgen_jax import config, kinds
from musicgen_jax.codes import code_dataset, code_file, code_shards
from musicgen_jax.data import audio_dataset, captions, lyrics, manifest, shards
from musicgen_jax.runtime import files
from musicgen_jax.sampling import output, prompts
from musicgen_jax.text import tokens

pytestmark = pytest.mark.slow
COUNT = 200


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_config(kind, tmp_path):
    config.write_json(tmp_path / "config.json", kinds.KINDS[kind].config())
    text = (tmp_path / "config.json").read_text()
    fuzzing.survey_file(
        tmp_path / "config.json",
        lambda path: kinds.read_run(str(path.parent), kind),
        fuzzing.json_mutations(text, 0, COUNT),
    )


def test_manifest(tiny_audio_dataset, tmp_path):
    text = (pathlib.Path(tiny_audio_dataset) / "manifest.jsonl").read_text()
    (tmp_path / "manifest.jsonl").write_text(text)
    fuzzing.survey_file(
        tmp_path / "manifest.jsonl",
        lambda path: manifest.read(path.parent),
        fuzzing.json_mutations(text, 2, COUNT, lines=True),
    )


@pytest.fixture
def codes(tiny_codes, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(tiny_codes, tmp_path / "codes"))


def windows(folder: pathlib.Path) -> None:
    """What training reads of codes."""
    model = code_dataset.resolve(config.PriorConfig(tier="middle", context=64), str(folder))
    found = code_dataset.Windows(str(folder), "train", model)
    for track in range(len(found.entries)):
        found.window(track, 0)
    code_shards.read_codebooks(str(folder))


def test_index_of_codes(codes):
    text = (codes / "tracks.jsonl").read_text()
    fuzzing.survey_file(
        codes / "tracks.jsonl", lambda path: windows(codes), fuzzing.json_mutations(text, 3, COUNT, lines=True)
    )


def test_facts_about_codes(codes):
    text = (codes / "metadata.json").read_text()
    fuzzing.survey_file(codes / "metadata.json", lambda path: windows(codes), fuzzing.json_mutations(text, 4, COUNT))


def test_codebooks(codes):
    inputs = fuzzing.zip_mutations((codes / "codebooks.npz").read_bytes(), 5, COUNT)
    fuzzing.survey_file(codes / "codebooks.npz", lambda path: code_shards.read_codebooks(str(codes)), inputs)


@pytest.mark.parametrize("name", ["metadata.json", "dataset_info.json", "features.json", "shard"])
def test_audio_shards(name, tiny_audio_dataset, tmp_path):
    folder = pathlib.Path(shutil.copytree(tiny_audio_dataset, tmp_path / "audio"))
    path = next(folder.glob("*train*")) if name == "shard" else folder / name

    def read(_: pathlib.Path) -> None:
        for split in shards.split_names(folder):
            for _, blocks in audio_dataset.read_tracks(str(folder), split):
                for _ in blocks:
                    pass

    data = path.read_bytes()
    inputs = fuzzing.mutations(data, 6, COUNT) if name == "shard" else fuzzing.json_mutations(data.decode(), 6, COUNT)
    fuzzing.survey_file(path, read, inputs)


def test_code_file(tiny_tokenizer, tmp_path):
    path = tmp_path / "x.codes"
    sizes = {"top": 20, "middle": 80, "bottom": 320}
    rng = np.random.default_rng(0)
    recording = code_file.Recording(
        tiny_tokenizer.layout, 128 * 20 - 3,
        {tier: rng.integers(0, 16, (size, 1)).astype(np.int16) for tier, size in sizes.items()},
    )  # fmt: skip
    code_file.write(path, recording)
    whole = path.read_bytes()
    (size,) = struct.unpack("<I", whole[8:12])

    def inputs() -> Iterator[bytes]:
        yield from fuzzing.mutations(whole, 7, COUNT // 4)
        for damaged in fuzzing.mutations(whole[:-4], 8, COUNT // 4):  # with the checksum of what they hold
            yield damaged + zlib.crc32(damaged).to_bytes(4, "little")
        for header in fuzzing.json_mutations(whole[12 : 12 + size].decode(), 9, COUNT // 2):
            content = whole[:8] + struct.pack("<I", len(header)) + header + whole[12 + size : -4]
            yield content + zlib.crc32(content).to_bytes(4, "little")

    fuzzing.survey_file(path, lambda path: prompts.load(path, tiny_tokenizer), inputs())


@pytest.fixture
def samples(tiny_tokenizer, tmp_path) -> pathlib.Path:
    """A folder that looks as one of `sample`."""
    rng = np.random.default_rng(0)
    np.savez_compressed(tmp_path / "codes.npz", top=rng.integers(0, 16, (2, 20)).astype(np.int16))

    soundfile.write(tmp_path / "000.wav", rng.normal(scale=0.1, size=2560), 4000)
    facts = {"vqvae_fingerprint": tiny_tokenizer.fingerprint, "request": {"seconds": 1.0, "settings": {"top_p": 0.9}}}
    facts |= {"sample_rate": 4000, "samples": [{"file": "000.wav", "seed": 0, "index": 0, "genre": "a"}]}
    files.write_json(tmp_path / "samples.json", facts)
    return tmp_path


def test_samples(samples, tiny_tokenizer):
    def read(_: pathlib.Path) -> None:
        prompts.load(samples / "codes.npz", tiny_tokenizer)
        output.read(str(samples))

    text = (samples / "samples.json").read_text()
    fuzzing.survey_file(samples / "samples.json", read, fuzzing.json_mutations(text, 10, COUNT))
    files.write_json(samples / "samples.json", json.loads(text))
    fuzzing.survey_file(
        samples / "codes.npz", read, fuzzing.zip_mutations((samples / "codes.npz").read_bytes(), 11, COUNT)
    )


def test_lyrics(tmp_path):
    """Whatever the bytes are, characters and times agree."""
    content = "[offset:+20]\n[00:01.00][00:11.5]Füße <00:01.50>über\n[00:03]\nmore words\n[01:02:33]end".encode()
    (tmp_path / "song.lrc").write_bytes(content)

    def read(path: pathlib.Path) -> lyrics.Lyrics:
        found = lyrics.parse(lyrics.read(path)[0], 60.0)
        assert len(found.text) == len(found.times) and np.isfinite(found.times).all()
        assert (np.diff(found.times) >= 0).all() and len(lyrics.folded(found.text)) == len(found)
        lyrics.syllables(found.text, 60.0)
        return found

    extremes = (b"[99:99.99]" * 2000, b"<0:0>" * 5000, b"[00:00" * 5000, b"\xff\xfe" + b"[" * 3001, b"[a:" * 4000)
    inputs = itertools.chain(fuzzing.mutations(content, 11, COUNT), (content + extreme for extreme in extremes))
    fuzzing.survey_file(tmp_path / "song.lrc", read, inputs)


def test_captions(tmp_path):
    """Whatever the bytes are, what is told is text of a bounded length."""
    content = json.dumps({"description": "Füße über", "genre": "jazz", "moods": ["sad", "slow"], "bpm": 99.5})

    def read(path: pathlib.Path) -> captions.Caption:
        found = captions.read(str(path))[0]
        assert all(len(text) <= 5 * captions.MAX_CHARACTERS for text in captions.told(found, {}))
        return found

    for name, inputs in (
        ("song.json", fuzzing.json_mutations(content, 12, COUNT)),
        ("song.caption.txt", fuzzing.mutations(content.encode(), 13, COUNT)),
    ):
        (tmp_path / name).write_text(content)
        fuzzing.survey_file(tmp_path / name, read, inputs)


def test_vocabulary(tmp_path):
    pytest.importorskip("sentencepiece")
    path = tmp_path / tokens.FILE_NAME
    path.write_bytes(tiny_text.vocabulary())

    def read(path: pathlib.Path) -> list[int]:
        return tokens.Vocabulary(path).numbers("calm piano")

    fuzzing.survey_file(path, read, fuzzing.mutations(path.read_bytes(), 14, COUNT // 4))
