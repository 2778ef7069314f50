"""T5's published files and native folders, both ways."""

import json

import command_line
import numpy as np
import pytest
import tiny_text

from musicgen_jax import kinds, pretrained
from musicgen_jax.conversion import checkpoint_files, t5
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.text import tokens

pytest.importorskip("safetensors")
pytest.importorskip("sentencepiece")
GATED = tiny_text.model_config("gated-gelu", max_distance=64)


@pytest.mark.long
def test_there_and_back_by_the_command_line(tmp_path):
    checkpoint = tiny_text.write_published(tmp_path / "published", GATED)
    native, again = tmp_path / "native", tmp_path / "again"
    run = ("musicgen_jax.convert", "--source=t5", f"--out={native}")
    done = command_line.run(*run, f"--checkpoint={checkpoint}")
    assert done.returncode == 0, done.stderr
    assert "Apache-2.0" in done.stdout and "next: " in done.stderr and "--text_encoder=" in done.stderr
    assert kinds.in_folder(native) is kinds.KINDS["t5"] and (native / "model_card.md").is_file()
    encoder = pretrained.load_text_encoder(str(native))
    assert encoder.config == GATED and encoder.encode(tiny_text.TEXTS)[1].any()

    done = command_line.run(*run, "--direction=export", f"--checkpoint={again / 'model.safetensors'}")
    assert done.returncode == 0, done.stderr
    stored, found = tiny_text.published_tensors(GATED), checkpoint_files.read(again / "model.safetensors")
    assert stored.keys() - found.keys() == {"encoder.embed_tokens.weight"}  # the table, a second time
    for name, tensor in found.items():
        np.testing.assert_array_equal(np.asarray(tensor), stored[name])
    assert json.loads((again / "config.json").read_text())["feed_forward_proj"] == "gated-gelu"
    assert (again / tokens.FILE_NAME).read_bytes() == tiny_text.vocabulary()


def test_whole_models_and_parts_of_larger_ones_give_their_encoder(tmp_path):
    own = tiny_text.published_tensors(GATED)
    own.pop("encoder.embed_tokens.weight")  # as it is saved
    rest = {"decoder.block.0.layer.0.SelfAttention.q.weight": np.zeros((2, 2), np.float32)}
    whole = own | rest | {"lm_head.weight": np.zeros((2, 2), np.float32)}
    part = {f"text_encoder.{name}": tensor for name, tensor in own.items()} | rest
    for tensors in (whole, part):
        assert t5.encoder_of(tensors).keys() == own.keys()
    told = {"text_encoder": t5.published(GATED), "model_type": "musicgen"}
    (tmp_path / "config.json").write_text(json.dumps(told))
    model = t5.infer_config(t5.encoder_of(part), t5.read_published(tmp_path))
    assert model == GATED and t5.differences(model, t5.encoder_of(part)) == []
    assert t5.infer_config(own, {}).max_distance == 128  # as all published encoders have it


def test_a_file_in_shards(tmp_path):
    tiny_text.write_published(tmp_path / "published")
    tensors = list(tiny_text.published_tensors(tiny_text.model_config()).items())
    names = {}
    for number, part in enumerate((tensors[:7], tensors[7:])):
        name = f"part-{number}.safetensors"
        checkpoint_files.write(tmp_path / "published" / name, dict(part))
        names |= {key: name for key, _ in part}
    index = tmp_path / "published" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    t5.import_checkpoint(index, tmp_path / "native")
    whole = tiny_text.weights(tiny_text.model_config())
    found = pretrained.load_text_encoder(str(tmp_path / "native")).params
    np.testing.assert_array_equal(found["layers"]["mlp_out"], whole["layers"]["mlp_out"])


def test_what_is_no_encoder_or_lacks_something_is_one_line(tmp_path):
    checkpoint = tiny_text.write_published(tmp_path / "published")
    out = tmp_path / "out"
    vocabulary = checkpoint.with_name(tokens.FILE_NAME).rename(tmp_path / "elsewhere")
    with pytest.raises(NotFoundError, match=r"no such file: .*spiece\.model.*tokenizer\.json is not read"):
        t5.import_checkpoint(checkpoint, out)
    vocabulary.rename(checkpoint.with_name(tokens.FILE_NAME))
    config_file = checkpoint.with_name("config.json")
    told = json.loads(config_file.read_text())
    for changed, message in (
        ({"feed_forward_proj": "gated-silu"}, "feed_forward_proj='gated-silu': must be relu, by the arrays"),
        ({"layer_norm_epsilon": "small"}, "config.json.norm_epsilon"),
    ):
        config_file.write_text(json.dumps(told | changed))
        with pytest.raises(UserError, match=message):
            t5.import_checkpoint(checkpoint, out)
    config_file.unlink()
    tensors = tiny_text.published_tensors(tiny_text.model_config())
    tensors["encoder.final_layer_norm.weight"] = np.ones((3,), np.float32)
    del tensors["encoder.block.1.layer.0.layer_norm.weight"]
    checkpoint.unlink()
    checkpoint_files.write(checkpoint, tensors)
    with pytest.raises(UserError, match=r"2 differences.*missing .*block\.1\.layer\.0\.layer_norm.*has shape \[3\]"):
        t5.import_checkpoint(checkpoint, out)
    checkpoint_files.write(checkpoint, {"vqvae.weight": np.ones((3, 3), np.float32)})
    with pytest.raises(UserError, match=r"holds no encoder of T5: no matrix .*its first keys are vqvae\.weight"):
        t5.import_checkpoint(checkpoint, out)
    assert not out.exists()


def test_other_folders_are_not_taken_for_one(tmp_path):
    with pytest.raises(NotFoundError, match="no such folder"):
        pretrained.load_text_encoder(str(tmp_path / "absent"))
    t5.import_checkpoint(tiny_text.write_published(tmp_path / "published"), tmp_path / "native")
    with pytest.raises(UserError, match="holds a model as it was published: `convert --source=t5` makes it ours"):
        pretrained.load_text_encoder(str(tmp_path / "published"))
    with pytest.raises(UserError, match="holds a text encoder, not"):
        pretrained.load_vqvae(str(tmp_path / "native"))
    assert pretrained.name_of_model(tmp_path / "native") == ""
    with pytest.raises(UserError, match="T5 is written as"):
        t5.export_checkpoint(tmp_path / "native", tmp_path / "new.bin")
    (tmp_path / "native" / tokens.FILE_NAME).unlink()
    with pytest.raises(NotFoundError, match="vocabulary of the text encoder"):
        pretrained.load_text_encoder(str(tmp_path / "native"))
