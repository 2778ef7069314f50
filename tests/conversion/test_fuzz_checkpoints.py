"""Damaged published files end in one line."""

import json
import pathlib
from collections.abc import Iterator

import fuzzing
import published_files
import pytest

from musicgen_jax.conversion import checkpoint_files, jukebox, weight_table

pytestmark = pytest.mark.slow
COUNT = 200


def convert(path: pathlib.Path) -> None:
    """What convert does with a published file before it writes."""
    for folder, tensors in jukebox._split(checkpoint_files.read(path), path).items():
        model = jukebox._identify(tensors, folder, None, path)
        weight_table.to_native(model.table, tensors, model.abstract)


def published(path: pathlib.Path) -> None:
    checkpoint_files.write(path, published_files.prior_tensors(published_files.tiny_prior()))


def test_safetensors(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "x.safetensors"
    published(path)
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")

    def inputs() -> Iterator[bytes]:
        yield from fuzzing.mutations(whole, 12, COUNT // 2)
        for header in fuzzing.json_mutations(whole[8 : 8 + size].decode(), 13, COUNT // 2):
            yield len(header).to_bytes(8, "little") + header + whole[8 + size :]

    fuzzing.survey_file(path, convert, inputs())


def test_index_of_shards(tmp_path):
    pytest.importorskip("safetensors")
    published(tmp_path / "1.safetensors")
    weight_map = dict.fromkeys(checkpoint_files.read(tmp_path / "1.safetensors"), "1.safetensors")
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (tmp_path / "x.index.json").write_text(text)
    fuzzing.survey_file(tmp_path / "x.index.json", convert, fuzzing.json_mutations(text, 14, COUNT))


@pytest.mark.parity
@pytest.mark.parametrize("is_zip", [True, False])
def test_torch(is_zip, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pt"
    published(path)
    torch.save(torch.load(path), path, _use_new_zipfile_serialization=is_zip)
    data = path.read_bytes()
    fuzzing.survey_file(
        path, convert, fuzzing.zip_mutations(data, 15, COUNT) if is_zip else fuzzing.mutations(data, 15, COUNT)
    )
