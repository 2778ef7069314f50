"""Tensors of published checkpoint files, read one by one: safetensors, torch pickles, and either in shards.

A pickle is never executed: torch reads it with its weights-only unpickler, which knows tensors and plain containers and
refuses everything else. torch and safetensors are imported only when a file of theirs is given.
"""

import contextlib
import dataclasses
import importlib
import json
import pathlib
import re
import types
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from musicgen_jax import config
from musicgen_jax.runtime import buckets, files, records
from musicgen_jax.runtime.errors import SYSTEM_ERRORS, NotFoundError, UserError

INDEX_SUFFIX = ".index.json"
# As safetensors and torch call those that NumPy has.
DTYPES = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
DTYPES |= {"float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"}
MAX_NAME = 1000  # letters
TORCH_SUFFIXES = (".tar", ".pt", ".pth", ".bin", ".th")  # .pth.tar: Jukebox's name for a pickle; it is no tar archive


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in its file.

    Attributes:
      shape: of the array.
      read: reads it.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.read(), dtype=dtype, copy=copy)


def read(path: pathlib.Path) -> dict[str, StoredTensor]:
    """{name: tensor} of a .safetensors file, a torch pickle, or a *.index.json that names such files.

    Values are read when they are asked for; but a pickle of torch 1.5 or older, as Jukebox's own files are, cannot be
    mapped and is in memory as a whole.

    Raises:
      NotFoundError: no such file.
      UserError: not such a file, or a pickle that holds more than tensors; or the library that reads it is missing.
    """
    return read_wrapped(path, "model")[0]


def read_wrapped(path: pathlib.Path, under: str) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """As `read`, of a torch pickle also what it has beside its tensors.

    Args:
      path: of the file.
      under: key of the tensors in a torch pickle, {under: {name: tensor}, ...}; without it the pickle is the tensors.

    Returns:
      ({name: tensor}, everything else: numbers, text and containers of them; {} for other files).

    Raises:
      NotFoundError, UserError: as `read`.
    """
    if not path.is_file():
        raise NotFoundError(f"no such file: {path}; pass a .safetensors, .pth.tar, .pt, .bin or {INDEX_SUFFIX} file")
    if path.name.endswith(INDEX_SUFFIX):
        return _read_shards(path), {}
    return (_read_safetensors(path), {}) if path.suffix == ".safetensors" else _read_torch(path, under)


def write(
    path: pathlib.Path,
    tensors: Mapping[str, np.ndarray],
    under: str = "model",
    beside: Mapping[str, Any] | None = None,
) -> None:
    """Writes a .safetensors file, or a torch pickle of {under: tensors} and of what is `beside` it, as the suffix says.

    Raises:
      UserError: another suffix, or torch is missing.
    """
    if path.suffix == ".safetensors":
        with files.blamed_on(path):
            _write_safetensors(path, tensors)
        return
    check_suffix(path)
    torch = _library("torch", path)
    state = {under: {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}, **(beside or {})}
    with path.open("wb") as file, files.blamed_on(path):
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's own, after what write() said
            raise error.__context__ if isinstance(error.__context__, OSError) else error from error


def export(
    path: pathlib.Path,
    tensors: Mapping[str, np.ndarray],
    under: str = "model",
    beside: Mapping[str, Any] | None = None,
) -> None:
    """As `write`, but a file is there only when it is whole; its folder is made, and a line on stdout says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial.{path.name}")  # keeps the extension, which chooses the format
    try:
        write(partial, tensors, under, beside)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{path}: {len(tensors)} tensors")


def check_new(path: pathlib.Path) -> None:
    """UserError unless `export` may write there: no such file yet, and an extension that names a format."""
    check_suffix(path)
    config.require(not path.exists(), f"{path} exists; remove it or choose another `checkpoint`")


def check_suffix(path: pathlib.Path) -> None:
    """UserError unless `write` knows the format that the suffix of `path` names."""
    config.require(
        path.suffix in (".safetensors", *TORCH_SUFFIXES),
        f"{path}: the extension must say what to write: .safetensors (Hugging Face's names) or .pth.tar, .pth, .pt, "
        ".bin (torch, the original names)",
    )


def _library(name: str, path: pathlib.Path) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise UserError(
            f"{path}: files of this kind need {package}, which is not installed: pip install 'musicgen_jax[convert]'"
        ) from error


def _require_readable(path: pathlib.Path, dtypes: Mapping[str, str]) -> None:
    """UserError that lists the tensors of a dtype which NumPy has not, and names that are no names."""
    strange = [f"{name} ({dtype})" for name, dtype in dtypes.items() if dtype not in DTYPES]
    config.require(not strange, f"{path}: save these tensors as float32 or float16 first: {', '.join(strange)}")
    longest = max(dtypes, key=len, default="")
    config.require(len(longest) <= MAX_NAME, f"{path} is damaged: it has a name of {len(longest)} letters")


def _read_shards(path: pathlib.Path) -> dict[str, StoredTensor]:
    no_index = f"{path} is no index of a sharded checkpoint"
    found = files.read_json(path).get("weight_map")
    weight_map = records.check(dict[str, str], found, f"{no_index}: weight_map")
    names = sorted(set(weight_map.values()))
    for name in names:
        config.require(pathlib.PurePath(name).name == name, f"{path} names {name}: a shard must lie beside its index")
        config.require(not name.endswith(INDEX_SUFFIX), f"{no_index}: it names {name}, which is an index and no shard")
        config.require(
            pathlib.Path(buckets.fetched(path.parent / name)).is_file(),
            f"{path} names {name}, which does not lie beside it: fetch it too",
        )
    shards = {name: read(path.parent / name) for name in names}
    absent = [f"{name} in {file}" for name, file in weight_map.items() if name not in shards[file]]
    config.require(not absent, f"{path} names tensors that their files lack: {', '.join(absent)}")
    return {name: tensor for shard in shards.values() for name, tensor in shard.items()}


def _read_safetensors(path: pathlib.Path) -> dict[str, StoredTensor]:
    safetensors = _library("safetensors", path)
    with files.reading(path, "it is no whole safetensors file; fetch it again"):
        file = safetensors.safe_open(path, framework="numpy")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (the handle is no mapping)
        _require_readable(path, {name: part.get_dtype() for name, part in slices.items()})
        return {
            name: StoredTensor(tuple(part.get_shape()), lambda name=name: file.get_tensor(name))
            for name, part in slices.items()
        }


def _write_safetensors(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
    """One array after the other: the library's own writer would hold a second copy of them all."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, array in tensors.items():
        start, end = end, end + array.nbytes
        dtype = {"float32": "F32", "float16": "F16"}[array.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).data)


def _read_torch(path: pathlib.Path, under: str) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    torch = _library("torch", path)
    # Files of torch 1.6 and later are zip archives, whose tensors stay on disk until they are touched.
    with files.reading(path, "it is no whole torch file of tensors; fetch it again"):
        is_zip = zipfile.is_zipfile(path)
        if is_zip:
            _check_zip(path)
    with _refusing(path):
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    link = loaded.get("pretrained") if isinstance(loaded, dict) else None
    config.require(
        not isinstance(link, str), f"{path} has no weights and names {link!r}: fetch the files of that model, pass them"
    )
    tensors = loaded.get(under, loaded) if isinstance(loaded, dict) else None
    config.require(isinstance(tensors, dict), f"{path} holds no named tensors, neither by themselves nor as {under!r}")
    beside = {} if tensors is loaded else {name: value for name, value in loaded.items() if name != under}
    others = [str(name) for name, value in tensors.items() if not (isinstance(name, str) and _is_plain(torch, value))]
    config.require(not others, f"{path} holds something else than tensors under {', '.join(others)}")
    _require_readable(path, {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()})
    size = path.stat().st_size
    large = [name for name, tensor in tensors.items() if tensor.numel() * tensor.element_size() > size]
    config.require(not large, f"{path} is damaged: these tensors are larger than the file: {', '.join(large)}")
    named = {
        name.removeprefix("module."): StoredTensor(tuple(tensor.shape), lambda tensor=tensor: tensor.detach().numpy())
        for name, tensor in tensors.items()
    }
    config.require(len(named) == len(tensors), f"{path} holds some tensors twice, with and without `module.`")
    return named, beside


def _is_plain(torch: types.ModuleType, value: Any) -> bool:
    """Whether it is a tensor whose values lie in memory, number after number."""
    if not isinstance(value, torch.Tensor):
        return False
    return value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized


def _check_zip(path: pathlib.Path) -> None:
    """Raises UserError unless torch can map the archive: what it holds is stored as it is, and as it was written."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
        config.require(
            not packed,
            f"{path} is compressed ({packed[:1]}), and torch would take the compressed bytes for the tensors': save it "
            "with torch.save",
        )
        inside = sum(entry.file_size for entry in entries) <= path.stat().st_size
        config.require(inside, f"{path} is damaged: its records overlap")
        wrong = archive.testzip()  # compares every checksum, which torch does not
        config.require(wrong is None, f"{path} is damaged: {wrong} has another checksum; fetch it again")


@contextlib.contextmanager
def _refusing(path: pathlib.Path) -> Iterator[None]:
    """Around torch.load: what is no torch file fails in as many ways as its first bytes mean something to a pickle."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in SYSTEM_ERRORS:
            raise
        # torch's own text goes on to recommend loading without protection: only the name of the culprit is taken.
        culprit = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        raise UserError(
            f"{path} is refused, nothing in it was executed: "
            + (f"it holds a {culprit[1]}, not only tensors" if culprit else "it is no whole torch file of tensors")
            + '; if you trust where it is from, save {"model": its state dict} alone with torch and pass that file'
        ) from error
