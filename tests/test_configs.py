"""Every config there is builds, validates and survives JSON; a wrong override is one clear line."""

import dataclasses
import importlib.util
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from musicgen_jax import config, modules
from musicgen_jax.conversion import jukebox_vqvae
from musicgen_jax.prior import prior
from musicgen_jax.vqvae import vqvae

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
ARGS = {
    "vqvae": [f"scale={scale}" for scale in ("tiny", "base")],
    "prior": [f"tier={tier},scale={scale}" for tier in config.TIERS for scale in ("tiny", "small", "1b", "5b")],
}
ALL = [(name, arg) for name, args in ARGS.items() for arg in args]


def load(name: str):
    """The module configs/NAME.py."""
    spec = importlib.util.spec_from_file_location(f"configs_{name}", REPOSITORY / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_config(name: str, arg: str | None):
    """A config as `train_*` would have it after reading the data."""
    run = load(name).get_config(arg)
    run.data.path = "somewhere"
    if name == "prior":
        run.model.upsampling = 0 if run.model.tier == "top" else 4
        run.model.codes_per_second = 344.5
        run.model.genres = run.model.artists = ("unknown",)
    return run


def test_the_list_is_whole():
    assert {path.stem for path in (REPOSITORY / "configs").glob("*.py")} == set(ARGS)
    assert dataclasses.asdict(load("vqvae").get_config()) == dataclasses.asdict(load("vqvae").get_config("scale=tiny"))


@pytest.mark.parametrize(("name", "arg"), ALL)
def test_validates_and_survives_json(name, arg, tmp_path):
    run = run_config(name, arg)
    run.validate()
    config.write_json(tmp_path / "config.json", run)
    assert config.read_json(tmp_path / "config.json", type(run)) == run
    assert config.from_dict(type(run), json.loads(json.dumps(config.to_dict(run)))) == run


def test_base_is_the_published_tokenizer():
    """Its parameters are counted in conversion/test_jukebox_vqvae.py."""
    assert load("vqvae").get_config("scale=base").model == jukebox_vqvae.released().model


@pytest.mark.parametrize(("name", "arg"), ALL)
def test_builds_without_memory(name, arg):
    run = run_config(name, arg)
    dtype = jnp.dtype(run.training.compute_dtype)
    module = vqvae.VQVAE if name == "vqvae" else prior.Prior
    functional = modules.Functional(lambda rngs: module(run.model, dtype=dtype, rngs=rngs))
    leaves = jax.tree.leaves((functional.abstract_params, functional.abstract_buffers))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) and leaf.dtype == jnp.float32 for leaf in leaves)
    limits = {"tiny": (1e4, 2e6), "base": (1e6, 1e7), "small": (1e8, 2.5e8), "1b": (0.9e9, 1.3e9), "5b": (0.8e9, 5.6e9)}
    low, high = limits[arg.split("scale=")[1]]
    assert low < functional.num_parameters() < high
    if arg == "tier=top,scale=5b":
        assert functional.num_parameters() > 4.5e9


@pytest.mark.parametrize(
    ("name", "arg", "message"),
    [
        ("prior", "scale=huge", "scale=huge: must be one of tiny, small, 1b, 5b"),
        ("vqvae", "scale=5b", "scale=5b: must be one of tiny, base"),
        ("prior", "size=tiny", "'size=tiny' is not understood.*tier=top,scale=tiny"),
        ("vqvae", "tiny", "'tiny' is not understood"),
    ],
)
def test_unknown_argument(name, arg, message):
    with pytest.raises(ValueError, match=message):
        load(name).get_config(arg)


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        ("prior", "model.tier", "highest", "model.tier='highest'"),
        ("prior", "model.context", 1, "model.context=1"),
        ("prior", "training.accumulation_steps", 3, "data.batch_size=8 must be divisible"),
        ("prior", "training.compute_dtype", "float8", "float8.*must be one of"),
        ("prior", "training.eval_every", -1, "training.eval_every=-1"),
        ("prior", "mesh.fsdp", 0, "mesh.fsdp=0"),
        ("prior", "optimizer.decay", "linear", "optimizer.decay='linear'"),
        ("vqvae", "clip_samples", 1000, "clip_samples=1000: must be a positive multiple of the top hop length 128"),
        ("vqvae", "training.accumulation_steps", 2, "over the whole global batch; use 1"),
        ("vqvae", "model.quantizer.num_codes", 40000, "codes are stored as int16"),
        ("vqvae", "data.path", "", "pass --config.data.path=DIR"),
    ],
)
def test_values_that_cannot_be(name, path, value, message):
    run = run_config(name, None)
    *parents, field = path.split(".")
    owner = run
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, field, value)
    with pytest.raises(ValueError, match=message):
        run.validate()


def test_from_dict_names_an_unknown_field():
    values = config.to_dict(config.PriorTraining())
    values["model"]["transformer"]["heads"] = 3
    with pytest.raises(ValueError, match=r"config\.model\.transformer has no field heads: .*num_heads"):
        config.from_dict(config.PriorTraining, values)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--config=configs/vqvae.py:scale=tiny", "--config.model.widht=3"], "widht"),
        (["--config=configs/vqvae.py:scale=unknown"], "tiny, base"),
        (["--config=configs/vqvae.py:scale=tiny", "--config.clip_samples=many"], "clip_samples"),
        (["--config=configs/missing.py"], "missing.py"),
    ],
)
def test_the_command_line_answers_in_one_line(arguments, named, tmp_path):
    command = [sys.executable, "-m", "musicgen_jax.train_vqvae", f"--workdir={tmp_path / 'run'}", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert named in done.stderr
    assert not (tmp_path / "run").exists()
