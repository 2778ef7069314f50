"""Reading and writing of published files; a pickle is never executed."""

import json
import pathlib
import pickle
import resource
import signal
import zipfile

import numpy as np
import pytest

from musicgen_jax.conversion import checkpoint_files
from musicgen_jax.runtime.errors import UserError

TENSORS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.float32([1.5, -2]),
    "half": np.float16([[0.1]]),
}


def assert_read(path: pathlib.Path, expected: dict[str, np.ndarray] = TENSORS):
    found = checkpoint_files.read(path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(np.asarray(found[name]), array)
        assert np.asarray(found[name]).dtype == array.dtype


def test_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file(TENSORS, tmp_path / "theirs.safetensors")
    assert_read(tmp_path / "theirs.safetensors")
    checkpoint_files.write(tmp_path / "ours.safetensors", TENSORS | {"a.weight": TENSORS["a.weight"].T})
    loaded = numpy.load_file(tmp_path / "ours.safetensors")
    np.testing.assert_array_equal(loaded["a.weight"], TENSORS["a.weight"].T)
    np.testing.assert_array_equal(loaded["half"], TENSORS["half"])


def write_shards(folder: pathlib.Path, weight_map: dict[str, str]) -> pathlib.Path:
    for shard in ("1.safetensors", "2.safetensors"):
        names = [name for name, file in weight_map.items() if file == shard and name in TENSORS]
        checkpoint_files.write(folder / shard, {name: TENSORS[name] for name in names})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def test_shards(tmp_path):
    pytest.importorskip("safetensors")
    assert_read(write_shards(tmp_path, {"a.weight": "1.safetensors", "b": "2.safetensors", "half": "1.safetensors"}))


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"b": "3.safetensors"}, "names 3.safetensors, which does not lie beside it"),
        ({"b": "../2.safetensors"}, "a shard must lie beside its index"),
        ({"b": "1.safetensors", "c": "2.safetensors"}, "lack: c in 2.safetensors"),
    ],
)
def test_shards_that_do_not_fit_their_index(weight_map, message, tmp_path):
    pytest.importorskip("safetensors")
    index = write_shards(tmp_path, weight_map)
    with pytest.raises(ValueError, match=message):
        checkpoint_files.read(index)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "no index of a sharded checkpoint: weight_map is None"),
        ('{"weight_map": {"a": 3}}', r"no index of a sharded checkpoint: weight_map\['a'\] is 3"),
        ('{"weight_map": {"a": "x.index.json"}}', "it names x.index.json, which is an index and no shard"),
        ('{"weight_map": {"a": "../1.safetensors"}}', "a shard must lie beside its index"),
        ('{"weight_map": {"a": "."}}', "a shard must lie beside its index|does not lie beside it"),
        ("[]", r"x\.index\.json is damaged: it must hold a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ("no json", "no whole JSON"),
    ],
)
def test_an_index_without_a_map(text, message, tmp_path):
    (tmp_path / "x.index.json").write_text(text)
    with pytest.raises(UserError, match=message):
        checkpoint_files.read(tmp_path / "x.index.json")


def write_safetensors(path: pathlib.Path, header: dict, content: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "BF16"])
def test_tensors_of_types_that_numpy_has_not_are_named(dtype, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "x.safetensors"
    size = 8 if dtype.startswith("F8") else 16
    write_safetensors(path, {"w": {"dtype": dtype, "shape": [8], "data_offsets": [0, size]}}, bytes(size))
    with pytest.raises(UserError, match=rf"save these tensors as float32 or float16 first: w \({dtype}\)"):
        checkpoint_files.read(path)


@pytest.mark.parametrize("content", [b"", b"not one", (2**40).to_bytes(8, "little") + b"{}"])
def test_a_torn_safetensors_file(content, tmp_path):
    pytest.importorskip("safetensors")
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="it is no whole safetensors file"):
        checkpoint_files.read(tmp_path / "x.safetensors")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        checkpoint_files.read(tmp_path / "x.safetensors")


def test_an_extension_that_names_no_format(tmp_path):
    with pytest.raises(ValueError, match="the extension must say what to write"):
        checkpoint_files.write(tmp_path / "x.npz", TENSORS)


@pytest.mark.parametrize(("file", "package"), [("x.pth.tar", "torch"), ("x.safetensors", "safetensors")])
def test_a_missing_library_is_named_with_its_extra(file, package, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)  # `import package` raises ImportError
    (tmp_path / file).write_bytes(b"anything")
    with pytest.raises(ValueError, match=rf"need {package}, which is not installed: pip install.*\[convert\]"):
        checkpoint_files.read(tmp_path / file)


@pytest.mark.parity
@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "step": 3, "hps": {"lr": 1.0}}])
def test_torch(is_zip, wrap, tmp_path):
    torch = pytest.importorskip("torch")
    state = {f"module.{name}": torch.from_numpy(array) for name, array in TENSORS.items()}
    torch.save(wrap(state), tmp_path / "x.pth.tar", _use_new_zipfile_serialization=is_zip)
    assert_read(tmp_path / "x.pth.tar")


@pytest.mark.parity
def test_torch_writes_what_jukebox_reads(tmp_path):
    torch = pytest.importorskip("torch")
    checkpoint_files.write(tmp_path / "x.pth.tar", TENSORS | {"b": TENSORS["b"][::-1]})
    loaded = torch.load(tmp_path / "x.pth.tar", weights_only=True)["model"]
    np.testing.assert_array_equal(loaded["b"].numpy(), TENSORS["b"][::-1])
    assert_read(tmp_path / "x.pth.tar", TENSORS | {"b": TENSORS["b"][::-1]})


class Malicious:
    """Unpickled without protection, it makes a file."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_malicious_pickle_is_refused_and_not_executed(kind, tmp_path):
    torch = pytest.importorskip("torch")
    trap, path = tmp_path / "executed", tmp_path / "x.pth.tar"
    content = {"model": {"b": torch.ones(2)}, "hps": Malicious(trap)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"hps": Malicious(trap)}, protocol=2))
        pickle.loads(path.read_bytes())["hps"].close()
        assert trap.exists(), "the trap itself must work"
        trap.unlink()
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(ValueError, match=r"is refused, nothing in it was executed: it holds a io.open, not"):
        checkpoint_files.read(path)
    assert not trap.exists()


@pytest.mark.parity
@pytest.mark.parametrize(
    "content", [b"", b"no pickle", b"PK\x03\x04 torn", b"hello world", b"RIFF\x24\x00\x00\x00WAVEfmt "]
)
def test_what_is_no_torch_file(content, tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(ValueError, match="no whole torch file of tensors"):
        checkpoint_files.read(tmp_path / "x.bin")


@pytest.mark.parity
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no named tensors"),
        ({"model": 3}, "holds no named tensors"),
        ({"model": {"a": 1, "b": [2]}}, "something else than tensors under a, b"),
    ],
)
def test_torch_files_of_other_things(content, message, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=message):
        checkpoint_files.read(tmp_path / "x.pt")


@pytest.mark.parity
def test_a_compressed_torch_file_is_refused(tmp_path):
    """torch would map the compressed bytes and take them for the tensors'."""
    torch = pytest.importorskip("torch")
    torch.save({"b": torch.zeros(1000)}, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as archive,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in archive.infolist():
            packed.writestr(entry.filename, archive.read(entry))
    assert_read(tmp_path / "x.pt", {"b": np.zeros(1000, np.float32)})
    with pytest.raises(UserError, match=r"packed\.pt is compressed"):
        checkpoint_files.read(tmp_path / "packed.pt")


@pytest.mark.parity
def test_a_flipped_bit_in_a_torch_file_is_seen(tmp_path):
    torch = pytest.importorskip("torch")
    values = np.arange(1000, dtype=np.float32)
    torch.save({"b": torch.from_numpy(values)}, tmp_path / "x.pt")
    content = bytearray((tmp_path / "x.pt").read_bytes())
    content[content.index(values.tobytes()) + 1234] ^= 8
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pt is damaged: .*checksum"):
        checkpoint_files.read(tmp_path / "x.pt")


@pytest.mark.parity
def test_torch_tensors_that_are_more_than_their_file(tmp_path):
    torch = pytest.importorskip("torch")
    for tensor, message in (
        (torch.zeros(1).expand(10**12), "larger than the file: b"),
        (torch.zeros(3).to_sparse(), "something else than tensors under b"),
        (
            torch.zeros(3, dtype=torch.float8_e4m3fn),
            r"save these tensors as float32 or float16 first: b \(float8_e4m3fn\)",
        ),
    ):
        torch.save({"b": tensor}, tmp_path / "x.pt")
        with pytest.raises(UserError, match=message):
            checkpoint_files.read(tmp_path / "x.pt")
    torch.save({"b": torch.zeros(3), "module.b": torch.ones(3)}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="some tensors twice"):
        checkpoint_files.read(tmp_path / "x.pt")


@pytest.mark.parametrize("name", ["x.safetensors", pytest.param("x.pt", marks=pytest.mark.parity)])
def test_a_full_disk_is_told_with_the_file(name, tmp_path):
    """By a limit on the size of files: not every test may mount a small disk."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=rf"File too large: '{tmp_path / name}'"):
            checkpoint_files.write(tmp_path / name, {"a": np.zeros(10_000, np.float32)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
