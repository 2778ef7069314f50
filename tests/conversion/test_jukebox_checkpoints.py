"""Files -> workdirs -> files: bit-identical, nothing guessed, nothing written that does not fit."""

import json
import pathlib

import numpy as np
import published_files
import pytest

from musicgen_jax import config, pretrained
from musicgen_jax.conversion import checkpoint_files, hugging_face_names, jukebox

pytest.importorskip("safetensors")
RUN = published_files.tiny_run()


@pytest.fixture(scope="module")
def vqvae():
    return published_files.vqvae_tensors(RUN.model)


@pytest.fixture(scope="module")
def priors():
    models = {"top": published_files.tiny_prior()}
    models |= {tier: published_files.tiny_upsampler(tier) for tier in ("middle", "bottom")}
    return {tier: (model, published_files.prior_tensors(model)) for tier, model in models.items()}


def write(path: pathlib.Path, tensors: dict[str, np.ndarray], prefix: str = "") -> pathlib.Path:
    """A file of Hugging Face's."""
    names = {name: prefix + hugging_face_names.hugging_face_name(name) for name in tensors}
    checkpoint_files.write(path, {names[name]: array for name, array in tensors.items()})
    return path


def assert_same(path: pathlib.Path, expected: pathlib.Path) -> None:
    found, wanted = checkpoint_files.read(path), checkpoint_files.read(expected)
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(wanted[name]), err_msg=name)


@pytest.fixture(scope="module")
def vqvae_workdir(vqvae, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vqvae")
    file = write(folder / "vqvae.safetensors", vqvae)
    jukebox.import_checkpoint(file, folder / "native", configs={"": RUN})
    return folder


def test_vqvae_there_and_back(vqvae_workdir, tmp_path):
    jukebox.export_checkpoint(vqvae_workdir / "native", tmp_path / "again.safetensors")
    assert_same(tmp_path / "again.safetensors", vqvae_workdir / "vqvae.safetensors")


def test_a_converted_vqvae_is_a_tokenizer(vqvae_workdir, vqvae):
    tokenizer = pretrained.load_vqvae(str(vqvae_workdir / "native"))
    assert tokenizer.config == RUN.model
    for level, tier in enumerate(("bottom", "middle", "top")):
        np.testing.assert_array_equal(tokenizer.codebooks()[tier][0], vqvae[f"bottleneck.level_blocks.{level}.k"])
    audio = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
    codes = tokenizer.encode(iter([audio]))
    assert {tier: len(found) for tier, found in codes.items()} == {"top": 256, "middle": 512, "bottom": 1024}


@pytest.mark.long
def test_a_file_with_every_model(vqvae, priors, tmp_path, capsys):
    files = {"1.safetensors": {}, "2.safetensors": {}}
    parts = {"vqvae.": vqvae}
    parts |= {f"priors.{n}.": priors[tier][1] for n, tier in enumerate(("top", "middle", "bottom"))}
    for n, (prefix, tensors) in enumerate(parts.items()):
        shard = files[f"{n % 2 + 1}.safetensors"]
        shard |= {prefix + hugging_face_names.hugging_face_name(name): array for name, array in tensors.items()}
    for name, tensors in files.items():
        checkpoint_files.write(tmp_path / name, tensors)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, tensors in files.items() for name in tensors}}))

    configs = {"vqvae": RUN} | {tier: model for tier, (model, _) in priors.items()}
    jukebox.import_checkpoint(index, tmp_path / "out", configs=configs)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bottom", "middle", "top", "vqvae"]
    assert "parameters" in capsys.readouterr().out
    for tier, (model, tensors) in priors.items():
        functional, (params, _), loaded = pretrained.load_jukebox_prior(str(tmp_path / "out" / tier))
        assert loaded == model
        np.testing.assert_array_equal(params["stack"]["tokens"], tensors["prior.x_emb.weight"])
        assert functional.num_parameters() == sum(
            array.size for name, array in tensors.items() if model.merged or name != "prior.x_out.weight"
        )
        with pytest.raises(ValueError, match="holds a published prior"):
            pretrained.load_prior(str(tmp_path / "out" / tier), tier)
        exported = tmp_path / "a new folder" / f"{tier}.safetensors"
        jukebox.export_checkpoint(tmp_path / "out" / tier, exported)
        assert [path.name for path in exported.parent.glob("*partial*")] == []
        assert_same(exported, write(tmp_path / "expected.safetensors", tensors))


def test_a_prior_is_recognised(priors, tmp_path):
    model, tensors = priors["top"]
    jukebox.import_checkpoint(write(tmp_path / "x.safetensors", tensors), tmp_path / "out")
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    assert values["transformer"]["width"] == 16 and values["transformer"]["num_heads"] == 8
    assert values == {"kind": "jukebox_prior"} | config.to_dict(model)


def test_an_upsampler_needs_its_tier(priors, tmp_path):
    file = write(tmp_path / "x.safetensors", priors["bottom"][1])
    with pytest.raises(ValueError, match="say which one it is with tier=middle or bottom"):
        jukebox.import_checkpoint(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("prefix", "message"), [("", "holds the VQ-VAE; leave tier out"), ("vqvae.", "names the tiers of its models")]
)
def test_a_tier_where_there_is_none(prefix, message, vqvae, tmp_path):
    file = write(tmp_path / "x.safetensors", vqvae, prefix)
    with pytest.raises(ValueError, match=message):
        jukebox.import_checkpoint(file, tmp_path / "out", tier="middle", configs={"": RUN})


def test_all_that_does_not_fit_is_listed_and_nothing_written(vqvae, priors, tmp_path):
    tensors = {f"vqvae.{hugging_face_names.hugging_face_name(name)}": array for name, array in vqvae.items()}
    del tensors["vqvae.bottleneck.level_blocks.0.codebook"]
    tensors["vqvae.decoders.2.out.bias"] = np.zeros(2, np.float32)
    model, prior = priors["top"]
    tensors |= {f"priors.0.{hugging_face_names.hugging_face_name(name)}": array for name, array in prior.items()}
    tensors["priors.0.prior.surplus"] = np.zeros(1, np.float32)
    checkpoint_files.write(tmp_path / "x.safetensors", tensors)
    with pytest.raises(ValueError, match="3 differences") as error:
        jukebox.import_checkpoint(tmp_path / "x.safetensors", tmp_path / "out", configs={"vqvae": RUN, "top": model})
    for line in (
        "vqvae: missing bottleneck.level_blocks.0.codebook",
        "vqvae: decoders.2.out.bias has shape [2], not [1]",
        "top: unexpected prior.surplus",
    ):
        assert line in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"layer.weight": np.zeros(1, np.float32)}, "holds no model of Jukebox.*first keys are layer.weight"),
        (
            {name: np.zeros(1, np.float32) for name in ("vqvae.a", "b", "priors.3.c")},
            "tensors outside of .*: b, priors",
        ),
    ],
)
def test_other_files(tensors, message, tmp_path):
    checkpoint_files.write(tmp_path / "x.safetensors", tensors)
    with pytest.raises(ValueError, match=message):
        jukebox.import_checkpoint(tmp_path / "x.safetensors", tmp_path / "out")


def test_nothing_is_overwritten(vqvae_workdir, tmp_path):
    file, native = vqvae_workdir / "vqvae.safetensors", vqvae_workdir / "native"
    with pytest.raises(ValueError, match=r"holds other things \(.*\): choose another out"):
        jukebox.import_checkpoint(file, native, configs={"": RUN})
    with pytest.raises(ValueError, match="exists; remove it or choose another checkpoint"):
        jukebox.export_checkpoint(native, file)
    with pytest.raises(ValueError, match="the extension must say what to write"):
        jukebox.export_checkpoint(native, tmp_path / "x.npz")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        jukebox.export_checkpoint(tmp_path / "none", tmp_path / "x.safetensors")


@pytest.mark.parity
@pytest.mark.parametrize("blocks", ["model", "blocks"])
def test_torch_there_and_back(blocks, vqvae, vqvae_workdir, tmp_path):
    """The original grammar, in both of its ways to name residual blocks, gives the same workdir as Hugging Face's."""
    torch = pytest.importorskip("torch")
    state = {
        "module." + name.replace(".model.0.model.", f".{blocks}.0.model."): torch.from_numpy(array)
        for name, array in vqvae.items()
    }
    torch.save({"model": state, "step": 1}, tmp_path / "vqvae.pth.tar")
    jukebox.import_checkpoint(tmp_path / "vqvae.pth.tar", tmp_path / "native", configs={"": RUN})
    jukebox.export_checkpoint(tmp_path / "native", tmp_path / "again.safetensors")
    assert_same(tmp_path / "again.safetensors", vqvae_workdir / "vqvae.safetensors")
    jukebox.export_checkpoint(tmp_path / "native", tmp_path / "again.pth.tar")
    exported = checkpoint_files.read(tmp_path / "again.pth.tar")
    assert exported.keys() == vqvae.keys()
    for name, array in vqvae.items():
        np.testing.assert_array_equal(np.asarray(exported[name]), array)
