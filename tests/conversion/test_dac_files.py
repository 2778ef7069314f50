"""Files of the Descript audio codec: they hold what the published code computes, and go there and back."""

import json
import pathlib
import shutil

import dac_oracle
import numpy as np
import pytest

from musicgen_jax import pretrained
from musicgen_jax.conversion import checkpoint_files, dac, weight_norm
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.tokenizers.tokenizer import Tokenizer

RATE = dac_oracle.tiny_model().sample_rate


def write_theirs(folder: pathlib.Path, tensors: dict[str, np.ndarray] | None = None) -> pathlib.Path:
    """A file of Hugging Face's names in a folder of its own, with config.json beside it."""
    folder.mkdir(exist_ok=True)
    model = dac_oracle.tiny_model()
    path = folder / "model.safetensors"
    checkpoint_files.write(path, dac_oracle.tensors(model) if tensors is None else tensors)
    (folder / "config.json").write_text(json.dumps({"model_type": "dac", "sampling_rate": RATE}))
    return path


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> pathlib.Path:
    """A workdir."""
    pytest.importorskip("safetensors")
    folder = tmp_path_factory.mktemp("dac")
    dac.import_checkpoint(write_theirs(folder / "theirs"), folder / "native")
    return folder / "native"


@pytest.fixture(scope="module")
def tokenizer(converted) -> Tokenizer:
    return pretrained.load_vqvae(str(converted))


@pytest.mark.long
def test_codes_and_audio_are_the_published_models(tokenizer):
    with np.load(dac_oracle.GOLDEN) as file:
        golden = dict(file)
    codes = tokenizer.encode(iter([golden["input"]]))["codes"]
    np.testing.assert_array_equal(codes, golden["codes"])
    assert min(len(np.unique(codes[:, q])) for q in range(codes.shape[1])) > 6
    audio = tokenizer.decode(golden["codes"], "codes")
    # What their odd strides leave out is missing at the end, and is not seen before that.
    alike = len(audio) - tokenizer.margin("codes").after
    assert len(golden["audio"]) < len(audio) and alike > 300
    np.testing.assert_allclose(audio[:alike], golden["audio"][:alike], atol=1e-5)
    assert 0.1 < np.std(golden["audio"]) < 0.7


def test_there_and_back(converted, tmp_path):
    again = tmp_path / "again" / "model.safetensors"
    dac.export_checkpoint(converted, again)
    found, wanted = checkpoint_files.read(again), dac_oracle.tensors(dac_oracle.tiny_model())
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(np.asarray(found[name]), array)
    settings = json.loads((again.parent / "config.json").read_text())
    assert (settings["model_type"], settings["sampling_rate"], settings["hop_length"]) == ("dac", RATE, 30)
    with pytest.raises(UserError, match="exists; remove it"):
        dac.export_checkpoint(converted, again)


@pytest.mark.parametrize("names", weight_norm.PAIRS)
def test_normalized_kernels_are_folded(names, tokenizer, tmp_path):
    folded = dac_oracle.tensors(dac_oracle.tiny_model())
    rng, stored = np.random.default_rng(0), {}
    for name, array in folded.items():
        layer = name.removesuffix(".weight")
        if layer == name or layer.endswith("codebook"):
            stored[name] = array
            continue
        length, direction = weight_norm.split(array)
        factors = rng.uniform(0.5, 2, length.shape).astype(np.float32)
        stored |= {layer + names[0]: length, layer + names[1]: factors * direction}
    dac.import_checkpoint(write_theirs(tmp_path / "theirs", stored), tmp_path / "native")
    _, params, _ = pretrained.load_dac_weights(str(tmp_path / "native"))
    for got, want in zip(_leaves(params), _leaves(tokenizer._weights[0]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def _leaves(tree: dict) -> list[np.ndarray]:
    return [
        leaf
        for _, value in sorted(tree.items(), key=lambda pair: str(pair[0]))
        for leaf in (_leaves(value) if isinstance(value, dict) else [np.asarray(value)])
    ]


def test_a_kernel_of_nothing_stays_nothing():
    length, direction = weight_norm.split(np.zeros((3, 2, 1), np.float32))
    folded = weight_norm.folded({"x.weight_g": length, "x.weight_v": direction})
    np.testing.assert_array_equal(np.asarray(folded["x.weight"]), np.zeros((3, 2, 1)))


def test_half_a_pair_is_told(tmp_path):
    stored = dac_oracle.tensors(dac_oracle.tiny_model())
    stored["decoder.conv1.weight_g"] = np.ones((32, 1, 1), np.float32)
    with pytest.raises(UserError, match=r"decoder\.conv1: \.weight_g and \.weight_v must both be there"):
        dac.import_checkpoint(write_theirs(tmp_path / "theirs", stored), tmp_path / "native")


def test_every_difference_is_listed(tmp_path):
    stored = dac_oracle.tensors(dac_oracle.tiny_model())
    del stored["decoder.snake1.alpha"]
    stored["encoder.conv1.bias"] = np.zeros(5, np.float32)
    stored["more"] = np.zeros(1, np.float32)
    wanted = r"missing decoder\.snake1\.alpha; unexpected more; encoder\.conv1\.bias has shape \[5\], not \[4\]"
    with pytest.raises(UserError, match=wanted):
        dac.import_checkpoint(write_theirs(tmp_path / "theirs", stored), tmp_path / "native")
    assert not (tmp_path / "native" / "config.json").exists()


def test_another_models_file_is_told(tmp_path):
    path = write_theirs(tmp_path / "theirs", {"conv.weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(UserError, match=r"holds no Descript Audio Codec: .*its keys are conv\.weight"):
        dac.import_checkpoint(path, tmp_path / "native")


def test_a_rate_that_nobody_says(tmp_path):
    path = write_theirs(tmp_path / "theirs")
    (path.parent / "config.json").unlink()
    with pytest.raises(UserError, match="nothing says at which rate its audio is sampled"):
        dac.import_checkpoint(path, tmp_path / "native")
    (path.parent / "config.json").write_text('{"sampling_rate": "fast"}')
    with pytest.raises(UserError, match=r"config\.json: sampling_rate"):
        dac.import_checkpoint(path, tmp_path / "native")


@pytest.mark.parity
def test_descripts_own_files_there_and_back(converted, tokenizer, tmp_path):
    torch = pytest.importorskip("torch")
    dac.export_checkpoint(converted, tmp_path / "weights.pth")
    stored = torch.load(tmp_path / "weights.pth", weights_only=True)
    kwargs = stored["metadata"]["kwargs"]
    assert kwargs["encoder_rates"] == [2, 3, 5] and kwargs["decoder_rates"] == [5, 3, 2]
    assert kwargs["sample_rate"] == RATE and "encoder.block.0.weight_g" in stored["state_dict"]
    dac.import_checkpoint(tmp_path / "weights.pth", tmp_path / "native")
    again = pretrained.load_vqvae(str(tmp_path / "native"))
    assert again.layout.sample_rate == RATE
    codes = np.random.default_rng(0).integers(0, 16, (40, 3))
    np.testing.assert_allclose(again.decode(codes, "codes"), tokenizer.decode(codes, "codes"), atol=1e-5)
    stored["metadata"]["path"] = pathlib.PurePosixPath("x")
    torch.save(stored, tmp_path / "code.pth")
    with pytest.raises(UserError, match=r"code\.pth is refused, nothing in it was executed"):
        dac.import_checkpoint(tmp_path / "code.pth", tmp_path / "refused")


def test_a_tokenizer_of_another_kind_is_told(converted, tmp_path):
    shutil.copytree(converted, tmp_path / "other")
    path = tmp_path / "other" / "config.json"
    path.write_text(path.read_text().replace('"dac"', '"residual"'))
    with pytest.raises(UserError, match="holds a residual tokenizer, not a Descript audio codec"):
        dac.export_checkpoint(tmp_path / "other", tmp_path / "x.safetensors")
