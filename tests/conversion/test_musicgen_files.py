"""MusicGen's published files and native folders, both ways."""

import json

import command_line
import jax
import numpy as np
import pytest
import tiny_musicgen
import tiny_musicgen_files

from musicgen_jax import kinds, pretrained
from musicgen_jax.conversion import checkpoint_files, musicgen, musicgen_tensors
from musicgen_jax.runtime.errors import NotFoundError, UserError

pytest.importorskip("safetensors")
pytest.importorskip("sentencepiece")
MODELS = {
    "mono": tiny_musicgen_files.model_config(),
    "stereo": tiny_musicgen_files.stereo(),
    "melody": tiny_musicgen_files.model_config(melody=True, chroma_frames=4),
}


@pytest.mark.parametrize("name", MODELS)
def test_names_there_and_back(name):
    model = MODELS[name]
    for table in (musicgen_tensors.hugging_face(model), musicgen_tensors.audiocraft(model)):
        rng = np.random.default_rng(0)
        tensors = {one.name: rng.normal(size=one.shape).astype(np.float32) for one in table}
        params = musicgen_tensors.to_native(table, tensors, tiny_musicgen.abstract(model))
        found = musicgen_tensors.to_published(table, params)
        jax.tree.map(np.testing.assert_array_equal, found, tensors)
        sizes = sum(tensor.size for tensor in tensors.values())
        assert sizes == sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_a_composite_becomes_three_folders(name, tmp_path):
    model = MODELS[name]
    published = tiny_musicgen_files.write(tmp_path / "published", model)
    musicgen.import_checkpoint(published, tmp_path / "native")
    found = {folder.name: kinds.in_folder(folder).config.kind for folder in (tmp_path / "native").iterdir()}
    assert found == {"vqvae": "encodec", "codes": "musicgen", "text_encoder": "t5"}
    prior = pretrained.load_prior(str(tmp_path / "native" / "codes"))
    layout = pretrained.load_vqvae(str(tmp_path / "native" / "vqvae")).layout
    assert prior.config.vqvae == layout.fingerprint and prior.config.tier == layout.names[0]
    assert prior.config.context == round(30 * prior.config.codes_per_second)
    assert prior.config.text_encoder == pretrained.load_text_encoder(str(tmp_path / "native/text_encoder")).fingerprint
    own = musicgen_tensors.to_published(musicgen_tensors.hugging_face(prior.config), prior.weights[0])
    jax.tree.map(np.testing.assert_array_equal, own, tiny_musicgen.published(model))
    musicgen.export_checkpoint(tmp_path / "native", tmp_path / "again" / "model.safetensors")
    musicgen.import_checkpoint(tmp_path / "again", tmp_path / "twice")
    for folder in found:
        assert json.loads((tmp_path / "twice" / folder / "config.json").read_text()) == json.loads(
            (tmp_path / "native" / folder / "config.json").read_text()
        )


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_audiocrafts_files(name, tmp_path):
    pytest.importorskip("torch")
    model = MODELS[name]
    published = tiny_musicgen_files.write_audiocraft(tmp_path / "published", model)
    musicgen.import_checkpoint(published, tmp_path / "native")
    prior = pretrained.load_prior(str(tmp_path / "native" / "codes"))
    assert prior.config.text_padding == "zeros" and prior.config.text_encoder == ""
    assert not (tmp_path / "native" / "text_encoder").exists()
    own = musicgen_tensors.to_published(musicgen_tensors.hugging_face(prior.config), prior.weights[0])
    jax.tree.map(np.testing.assert_array_equal, own, tiny_musicgen.published(model))
    musicgen.export_checkpoint(tmp_path / "native", tmp_path / "again.bin")
    first, again = (
        checkpoint_files.read_wrapped(one, "best_state")
        for one in (published / "state_dict.bin", tmp_path / "again.bin")
    )
    assert json.loads(again[1]["xp.cfg"]) == json.loads(first[1]["xp.cfg"])
    for key, tensor in again[0].items():
        np.testing.assert_array_equal(np.asarray(tensor), np.asarray(first[0][key]))


@pytest.mark.long
def test_by_the_command_line(tmp_path):
    published = tiny_musicgen_files.write(tmp_path / "published")
    out = tmp_path / "native"
    done = command_line.run("musicgen_jax.convert", "--source=musicgen", f"--checkpoint={published}", f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert "CC-BY-NC 4.0" in done.stdout and "next: " in done.stderr and "--text=" in done.stderr
    assert (out / "codes" / "model_card.md").is_file()


def test_what_does_not_fit(tmp_path):
    with pytest.raises(UserError, match=r"holds none of model\.safetensors"):
        musicgen.import_checkpoint(tmp_path, tmp_path / "out")
    published = tiny_musicgen_files.write(tmp_path / "published")
    tensors = {name: np.asarray(one) for name, one in checkpoint_files.read(published / "model.safetensors").items()}
    path = published / "model.safetensors"

    def again(changed: dict) -> None:
        path.unlink()
        checkpoint_files.write(path, changed)

    name = "decoder.model.decoder.layers.1.fc2.weight"
    again(tensors | {name: tensors[name][1:], "decoder.surplus": np.zeros(1, np.float32)})
    with pytest.raises(UserError, match=r"2 differences.*unexpected decoder\.surplus; decoder.*fc2\.weight has shape"):
        musicgen.import_checkpoint(published, tmp_path / "out")
    again({"surplus": np.zeros(1, np.float32)})
    with pytest.raises(UserError, match=r"holds no MusicGen: there is no matrix decoder.*; the first key is surplus"):
        musicgen.import_checkpoint(published, tmp_path / "out")
    again(tensors)
    (published / "spiece.model").unlink()
    with pytest.raises(NotFoundError, match=r"spiece\.model, the vocabulary"):
        musicgen.import_checkpoint(published, tmp_path / "out")
    (published / "config.json").unlink()
    with pytest.raises(NotFoundError, match=r"config\.json"):
        musicgen.import_checkpoint(published, tmp_path / "out")
    assert not (tmp_path / "out").exists()
