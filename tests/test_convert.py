"""The command line of convert, as a person calls it."""

import subprocess

import command_line
import numpy as np
import pytest
import tiny_encodec

from musicgen_jax import config
from musicgen_jax.conversion import checkpoint_files, hugging_face_names, jukebox_prior, native, weight_table
from musicgen_jax.nn import modules
from musicgen_jax.priors import jukebox


def convert(*arguments: object) -> subprocess.CompletedProcess:
    return command_line.run("musicgen_jax.convert", "--source=jukebox", *arguments)


def test_there_and_back(tmp_path):
    pytest.importorskip("safetensors")
    # A prior with the release's heads and rows, but narrow: its file tells the widths.
    transformer = config.JukeboxTransformerConfig(num_layers=3, width=8, attention_width=8, mlp_width=8)
    model = config.JukeboxPriorConfig(
        context=128, num_codes=4, num_genres=2, num_artists=2, merged=True, transformer=transformer
    )
    table = hugging_face_names.rename(jukebox_prior.weights(model))
    abstract = native.abstract(modules.Functional(lambda rngs: jukebox.JukeboxPrior(model, rngs=rngs)))
    rng = np.random.default_rng(0)
    shapes = {weight.name: weight.published_shape(weight_table.leaf(abstract, weight.path).shape) for weight in table}
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    checkpoint_files.write(tmp_path / "prior.safetensors", tensors)

    done = convert(f"--checkpoint={tmp_path / 'prior.safetensors'}", f"--out={tmp_path / 'native'}")
    assert done.returncode == 0, done.stderr
    assert "Noncommercial" in done.stdout and "GB of memory" in done.stdout
    again = tmp_path / "again.safetensors"
    done = convert("--direction=export", f"--checkpoint={again}", f"--out={tmp_path / 'native'}")
    assert done.returncode == 0, done.stderr
    found = checkpoint_files.read(again)
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(np.asarray(found[name]), array)


def test_a_wrong_file_is_one_line(tmp_path):
    done = convert(f"--checkpoint={tmp_path / 'none.pth.tar'}", f"--out={tmp_path / 'out'}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no such file") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_an_encodec_of_few_codebooks_there_and_back(tmp_path):
    pytest.importorskip("safetensors")
    path = tiny_encodec.write(tmp_path / "published", "24khz")
    source = ("--source=encodec", f"--out={tmp_path / 'native'}")
    done = command_line.run("musicgen_jax.convert", *source, f"--checkpoint={path}", "--bandwidth=5.4")
    assert done.returncode == 0, done.stderr
    assert "CC-BY-NC" in done.stdout and "extract_codes" in done.stderr
    again = tmp_path / "again" / "model.safetensors"
    done = command_line.run("musicgen_jax.convert", *source, "--direction=export", f"--checkpoint={again}")
    assert done.returncode == 0, done.stderr
    assert sum(name.endswith(".embed") for name in checkpoint_files.read(again)) == 2
    assert (again.parent / "config.json").is_file()
    done = convert(f"--checkpoint={path}", f"--out={tmp_path / 'other'}", "--bandwidth=3")
    assert done.returncode == 1 and "only files of EnCodec have bandwidths" in done.stderr
