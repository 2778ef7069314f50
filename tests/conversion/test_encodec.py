"""EnCodec's published files: what ours makes of them is what transformers made, from a golden file."""

import json

import encodec_oracle
import numpy as np
import pytest
import tiny_encodec

from musicgen_jax import config, pretrained
from musicgen_jax.config.encodec import published
from musicgen_jax.conversion import checkpoint_files, encodec, encodec_settings, encodec_weights
from musicgen_jax.runtime.errors import UserError

NAMES = tuple(encodec_oracle.TINY_MODELS)
COMPILED = ["24khz", "32khz", pytest.param("48khz", marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """{name: workdir} of all tiny models, each through a safetensors file."""
    pytest.importorskip("safetensors")
    folder = tmp_path_factory.mktemp("encodec")
    for name in NAMES:
        encodec.import_checkpoint(tiny_encodec.write(folder / name, name), folder / name / "native")
    return {name: str(folder / name / "native") for name in NAMES}


@pytest.mark.parametrize("name", COMPILED)
def test_codes_scales_and_audio_are_the_published_models(workdirs, name):
    codec = pretrained.load_encodec(workdirs[name])
    audio = encodec_oracle.tiny_audio(codec.config.channels)
    with np.load(encodec_oracle.GOLDEN) as file:
        wanted = {key.removeprefix(f"{name}/"): file[key] for key in file if key.startswith(f"{name}/")}
    chunks = codec.encode(audio.T)
    assert len(chunks) == len(wanted["codes"]) > (2 if name == "48khz" else 0)
    for chunk, codes in zip(chunks, wanted["codes"], strict=True):
        np.testing.assert_array_equal(chunk.codes, codes[: len(chunk.codes)])  # the last is filled up with zeros
    assert len(np.unique(chunks[0].codes)) > 8
    if "scales" in wanted:
        np.testing.assert_allclose([chunk.scale for chunk in chunks], wanted["scales"], rtol=1e-5)
    decoded = codec.decode(chunks)
    np.testing.assert_allclose(decoded.T, wanted["audio"], atol=1e-5)
    assert np.std(wanted["audio"]) > 0.01
    assert codec.decode(chunks, audio.shape[1]).shape == audio.T.shape


@pytest.mark.parametrize("name", NAMES)
def test_there_and_back(workdirs, tmp_path, name):
    again = tmp_path / "again" / "model.safetensors"
    encodec.export_checkpoint(workdirs[name], again)
    found, wanted = checkpoint_files.read(again), tiny_encodec.tensors(name)
    assert found.keys() == wanted.keys()
    plain, other = encodec_weights.plain(found), encodec_weights.plain(wanted)
    for key in plain:
        np.testing.assert_allclose(np.asarray(plain[key]), np.asarray(other[key]), rtol=1e-6, atol=1e-7)
    encodec.import_checkpoint(again, tmp_path / "native")
    assert pretrained.load_encodec(str(tmp_path / "native")).config == pretrained.load_encodec(workdirs[name]).config
    with pytest.raises(UserError, match="exists"):
        encodec.export_checkpoint(workdirs[name], again.with_name("other.safetensors"))


def test_old_names_of_normalized_weights_are_read_too():
    wanted = tiny_encodec.tensors("24khz")
    model = tiny_encodec.settings("24khz")
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): array
        for name, array in wanted.items()
    }
    original = {encodec_weights.original_name(name, model): array for name, array in old.items()}
    assert encodec_weights.are_original(original) and not encodec_weights.are_original(old)
    assert "decoder.model.3.convtr.convtr.weight_g" in original
    assert "encoder.model.1.block.1.conv.conv.weight_v" in original
    assert "quantizer.vq.layers.0._codebook.embed" in original
    tables = [encodec_weights.plain(tensors) for tensors in (wanted, old, original)]
    assert tables[0].keys() == tables[1].keys() == tables[2].keys()
    assert not [name for name in tables[0] if "original" in name or "weight_g" in name or "bias_hh" in name]
    for name, tensor in tables[0].items():
        np.testing.assert_array_equal(np.asarray(tensor), np.asarray(tables[2][name]))


@pytest.mark.parametrize("name", ["24khz", "32khz", "48khz"])
def test_settings_there_and_back(name):
    model = published(name)
    model.validate()
    shapes = {
        f"quantizer.layers.{index}.codebook.embed": (model.quantizer.num_codes, 128)
        for index in range(model.quantizer.num_codebooks)
    }
    if model.shortcut == "convolution":
        shapes["encoder.layers.1.shortcut.conv.weight"] = (32, 32, 1)
    values = json.loads(json.dumps(encodec_settings.to_hugging_face(model)))
    assert encodec_settings.of_hugging_face(values, shapes, "here") == model
    if name != "48khz":
        assert encodec_settings.of_audiocraft(encodec_settings.to_audiocraft(model), shapes, "here") == model
    if name != "32khz":
        shapes["encoder.layers.0.conv.weight"] = (32, model.channels, 7)
        assert encodec_settings.of_shapes(shapes, "here") == model


def test_settings_name_others():
    text = encodec_settings.to_audiocraft(published("32khz"))
    text = text.replace("channels: 1\n  causal: false", "channels: ${encodec.channels}\n  causal: ${encodec.causal}")
    assert "${encodec.channels}" in text
    shapes = {"quantizer.layers.0.codebook.embed": (2048, 128)}
    assert encodec_settings.of_audiocraft(text, shapes, "here").channels == 1
    text = text.replace("pad_mode: reflect", "pad_mode: constant")
    assert encodec_settings.of_audiocraft(text, shapes, "here").padding == "constant"
    with pytest.raises(UserError, match=r"does not say seanet\.pad_mode"):
        encodec_settings.of_audiocraft(text.replace("pad_mode: constant", "x: 1"), shapes, "here")
    for damaged in ("[", "3", "{seanet: {norm: 3}}", "{seanet: {norm: layer_norm}}"):
        with pytest.raises(UserError):
            encodec_settings.of_audiocraft(damaged, shapes, "here")


@pytest.mark.long
def test_few_codebooks_are_a_prefix(workdirs, tmp_path):
    path = tiny_encodec.write(tmp_path / "32khz", "32khz")
    each = 4 * 4000 / 6 / 1000  # kbit/s of codes of 4 bits
    encodec.import_checkpoint(path, tmp_path / "native", bandwidth=2 * each)
    few, whole = (pretrained.load_vqvae(str(place)) for place in (tmp_path / "native", workdirs["32khz"]))
    assert few.layout.stream("codes").num_codebooks == 2 and few.fingerprint != whole.fingerprint
    audio = encodec_oracle.tiny_audio(1)[0]
    codes = whole.encode(iter([audio]))["codes"][:, :2]
    np.testing.assert_array_equal(few.encode(iter([audio]))["codes"], codes)
    np.testing.assert_allclose(few.decode(codes, "codes"), whole.decode(codes, "codes"), atol=1e-6)
    for wrong in (0.5 * each, 4 * each, float("nan"), -1):
        with pytest.raises(UserError, match="choose from"):
            encodec.import_checkpoint(path, tmp_path / "other", bandwidth=wrong)
    assert not (tmp_path / "other").exists()


def test_files_that_contradict_themselves_are_refused(tmp_path):
    path = tiny_encodec.write(tmp_path / "32khz", "32khz")
    settings = tmp_path / "32khz" / "config.json"
    whole = json.loads(settings.read_text())
    for changes, message in (
        ({"use_conv_shortcut": True}, "lacks the convolutions of shortcuts"),
        ({"model_type": "dac"}, "of no EnCodec"),
        ({"norm_type": "layer_norm"}, "norm_type"),
        ({"pad_mode": "edge"}, "model.padding='edge'"),
        ({"num_filters": "four"}, "num_filters"),
        ({"num_filters": 8}, "has shape"),
        ({"num_lstm_layers": 1}, "unexpected"),
    ):
        settings.write_text(json.dumps(whole | changes))
        with pytest.raises(UserError, match=message):
            encodec.import_checkpoint(path, tmp_path / "out")
    settings.unlink()
    with pytest.raises(UserError, match=r"config\.json beside it"):
        encodec.import_checkpoint(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_stream_is_a_codec_alone(workdirs):
    with pytest.raises(UserError, match=r"of 2 channels.*load_encodec"):
        pretrained.load_vqvae(workdirs["48khz"])
    codec = pretrained.load_encodec(workdirs["48khz"])
    with pytest.raises(UserError, match="2 channels"):
        codec.encode(np.zeros(100, np.float32))
    with pytest.raises(UserError, match="one or more samples"):
        codec.encode(np.zeros((0, 2), np.float32))
    run = config.EncodecTraining(model=codec.config, clip_samples=600, data=config.DataConfig(path="x"))
    with pytest.raises(UserError, match="mono"):
        run.validate()
