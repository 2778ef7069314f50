"""Checkpoints of TensorFlow are read as they were written, or refused in a sentence."""

import fuzzing
import numpy as np
import pytest
import tf_checkpoint

from musicgen_jax.evaluation.embeddings import tensor_bundle

RNG = np.random.default_rng(0)
ARRAYS = {
    f"layer_{number}/{part}": RNG.standard_normal((number + 1, 3)[: 1 + number % 2]).astype(np.float32)
    for number in range(40)
    for part in ("bias", "kernel", "kernel/Adam")
}


@pytest.fixture
def folder(tmp_path):
    tf_checkpoint.write(tmp_path, ARRAYS)
    return tmp_path


def test_what_was_written_is_read(folder):
    found = tensor_bundle.read(folder, "fetch it")
    assert found.keys() == ARRAYS.keys()  # without the step, which is an integer
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (".index", lambda content: content[:-1], "is damaged .it is no table of LevelDB.: fetch it"),
        (".index", lambda content: content[100:], "is damaged"),
        (".index", lambda content: b"x", "is no table"),
        (".data-00000-of-00001", lambda content: content[:-9], r"an array lies at bytes \d+ to"),
        (".data-00000-of-00001", lambda content: b"\xff" * len(content), "a weight is not finite"),
    ],
)
def test_damage_is_said(folder, name, change, message):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        tensor_bundle.read(folder, "fetch it")


def test_a_missing_file_is_said(folder):
    (folder / ".index").unlink()
    with pytest.raises(FileNotFoundError, match="index"):
        tensor_bundle.read(folder, "fetch it")


def test_a_compressed_block_is_refused(folder):
    path = folder / ".index"
    content = bytearray(path.read_bytes())
    content[-48 - 5] = 1  # how the list of blocks is compressed, which lies before the footer
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="compressed"):
        tensor_bundle.read(folder, "fetch it")


def test_damaged_indices(folder):
    content = (folder / ".index").read_bytes()
    fuzzing.survey_file(
        folder / ".index", lambda path: tensor_bundle.read(folder, "fetch it"), fuzzing.mutations(content, 0, 200)
    )
