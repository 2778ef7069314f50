"""Every config there is builds, validates and survives JSON; a wrong override is one clear line."""

import dataclasses
import importlib.util
import json
import pathlib
import re

import command_line
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from tiny_layouts import TIERS

from musicgen_jax import config, kinds
from musicgen_jax.command_line import config_flag
from musicgen_jax.conversion import jukebox_vqvae
from musicgen_jax.runtime.errors import UserError

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
ARGS = {
    "vqvae": ["scale=tiny", "scale=base", "scale=tiny,kind=residual"],
    "encodec": ["scale=tiny", "scale=24khz", "scale=32khz"],
    "dac": ["scale=tiny", "scale=16khz", "scale=24khz", "scale=44khz"],
    "prior": [f"tier={tier},scale={scale}" for tier in TIERS for scale in ("tiny", "small", "1b", "5b")],
    "diffusion": [f"tier={tier},scale={scale}" for tier in ("top", "bottom") for scale in ("tiny", "5b")],
    "musicgen": ["scale=tiny,score=true", "scale=small", "scale=medium,text=false", "scale=large"],
    "symbolic": [
        f"model={model},tokens={tokens},scale={scale}"
        for model, tokens, scale in (
            ("transformer", "grid", "tiny"),
            ("transformer", "performance", "small"),
            ("lstm", "grid", "tiny"),
            ("lstm", "performance", "small"),
        )
    ],
}
# Of the VQ-VAE, and of a prior without its conditioner: within 5 % of 5 B, within 10 % of 1 B and of 150 M.
NUM_PARAMETERS = {
    "tiny": (1e4, 2e6),
    "base": (1e6, 1e7),
    "small": (135e6, 165e6),
    "1b": (0.9e9, 1.1e9),
    "5b": (4.75e9, 5.25e9),
    "24khz": (14e6, 16e6),  # with a discriminator
    "32khz": (56e6, 60e6),
}
OF_MUSICGEN = {"tiny": (2e6, 4e6), "small": (4.1e8, 4.3e8), "medium": (1.1e9, 1.4e9), "large": (3.2e9, 3.3e9)}
OF_DAC = {"16khz": (115e6, 118e6), "24khz": (115e6, 118e6), "44khz": (118e6, 120e6)}  # of DAC, with discriminators
SCALES = ("tiny", "small", "1b", "5b")  # of priors
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
    if kinds.of(run).data != "audio":
        run.model.upsampling = 0 if run.model.tier in ("top", "score", "codes") else 4
        run.model.codes_per_second = 344.5
        run.model.labels, run.model.vocabularies = ("genre",), {"genre": ("unknown",)}
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
    functional = kinds.of(run).functional(run)
    leaves = jax.tree.leaves((functional.abstract_params, functional.abstract_buffers))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) and leaf.dtype == jnp.float32 for leaf in leaves)
    sizes = NUM_PARAMETERS | {"musicgen": OF_MUSICGEN, "dac": OF_DAC}.get(name, {})
    low, high = sizes[arg.split("scale=")[1].split(",")[0]]
    if name == "symbolic" and "small" in arg:
        low, high = 24e6, 32e6
    if "scale=5b" in arg and "tier=top" not in arg:
        low, high = 1.3e9, 1.4e9  # narrower
    params = nnx.to_pure_dict(functional.abstract_params)
    beside = sum(leaf.size for leaf in jax.tree.leaves(params.get("upsampler", {})))
    if name == "diffusion":
        beside += params["stack"]["layers"]["attention"]["distances"].size // 2  # those ahead
    assert low < functional.num_parameters() - beside < high


@pytest.mark.parametrize("tier", TIERS)
def test_five_billion_is_the_founding_shape(tier):
    run = load("prior").get_config(f"tier={tier},scale=5b")
    shape = run.model.transformer
    assert (shape.num_layers, shape.num_heads, shape.head_dim, run.model.context) == (72, 10, 128, 8192)
    assert shape.width == shape.mlp_width == (4800 if tier == "top" else 1920)  # narrow blocks
    assert run.optimizer.weight_decay == 0.002 and run.optimizer.warmup_steps == 10_000


@pytest.mark.parametrize("tier", TIERS)
def test_muon_is_the_default_where_it_was_measured(tier):
    names = {scale: load("prior").get_config(f"tier={tier},scale={scale}").optimizer.name for scale in SCALES}
    assert names == {"tiny": "muon", "small": "adamw", "1b": "adamw", "5b": "adamw"}
    assert load("diffusion").get_config(f"tier={tier},scale=tiny").optimizer.name == "adamw"


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
        ("prior", "model.tier", "no name", "model.tier='no name': must be the name of a stream"),
        ("prior", "model.context", 1, "model.context=1"),
        ("prior", "training.accumulation_steps", 3, "data.batch_size=8 must be divisible"),
        ("prior", "training.compute_dtype", "float8", "float8.*must be one of"),
        ("prior", "training.eval_every", -1, "training.eval_every=-1"),
        ("prior", "training.ema_decay", float("nan"), "training.ema_decay=nan"),
        ("prior", "data.num_workers", -1, "data.num_workers=-1"),
        ("prior", "mesh.data", 0, r"mesh.data=0: must be -1 \(the rest\) or at least 1"),
        ("prior", "training.num_steps", 2**31, "training.num_steps=2147483648: must be at most 2147483647"),
        ("prior", "optimizer.weight_decay", -0.1, "optimizer.weight_decay=-0.1: must be at least 0"),
        ("prior", "optimizer.weight_decay", float("inf"), "optimizer.weight_decay=inf: must be at most"),
        ("prior", "optimizer.final_fraction", 5.0, "optimizer.final_fraction=5.0: must be at most 1"),
        ("prior", "optimizer.peak_learning_rate", float("inf"), "peak_learning_rate=inf: must be greater than 0"),
        ("prior", "optimizer.peak_learning_rate", float("nan"), "peak_learning_rate=nan"),
        ("prior", "optimizer.clip_norm", float("nan"), "optimizer.clip_norm=nan"),
        ("prior", "optimizer.warmup_steps", -1, "optimizer.warmup_steps=-1"),
        ("prior", "mesh.fsdp", 0, "mesh.fsdp=0"),
        ("prior", "optimizer.decay", "linear", "optimizer.decay='linear'"),
        ("prior", "optimizer.name", "sgd", "optimizer.name='sgd': must be one of adamw, adafactor, muon"),
        ("prior", "optimizer.state_dtype", "int8", "optimizer.state_dtype='int8': must be one of float32, bfloat16"),
        ("prior", "optimizer.b2", 1.0, "optimizer.b2=1.0"),
        ("prior", "model.loss_chunk", -1, "model.loss_chunk=-1"),
        ("prior", "model.transformer.remat", "True", "remat='True': must be one of none, full, dots, offload"),
        ("vqvae", "clip_samples", 1000, "clip_samples=1000: must be a positive multiple of the longest hop length 128"),
        ("vqvae", "training.accumulation_steps", 2, "over the whole global batch; use 1"),
        ("vqvae", "model.quantizer.num_codes", 40000, "codes are stored as int16"),
        ("vqvae", "data.path", "", "pass --config.data.path=DIR"),
        ("prior", "training.seed", -1, "training.seed=-1: must be at least 0"),
        ("prior", "data.seed", 2**32, "data.seed=4294967296: must be at most 4294967295"),
        ("prior", "data.batch_size", 10**9, "data.batch_size=1000000000: must be at most 1048576"),
        ("prior", "data.num_workers", 10**6, "data.num_workers=1000000: must be at most 1024"),
        ("prior", "training.num_steps", 2**31, "training.num_steps=2147483648: must be at most"),
        ("prior", "model.transformer.num_layers", 10**9, "num_layers=1000000000: must be at most 10000"),
        ("prior", "model.context", 10**12, "model.context=1000000000000: must be at most"),
        (
            "vqvae",
            "model.top.downsampling",
            (10**6,),
            r"downsampling=\(1000000,\).* a hop length above 2 \*\* 20 is too long",
        ),
        ("vqvae", "model.middle.strides", (2, 2, 2, 2, 3), r"\[128, 48, 8\]: each must be a multiple of the next"),
        ("vqvae", "model.top.depth", 10**9, "model.top.depth=1000000000: must be at most 1000"),
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


def test_a_divided_sequence_must_divide():
    run = run_config("prior", "scale=tiny")
    run.shard_sequence, run.mesh.tensor, run.model.context = True, 8, 256
    run.validate()
    run.model.context = 252
    with pytest.raises(ValueError, match=r"model\.context=252: .* multiple of mesh\.tensor=8"):
        run.validate()


@pytest.mark.parametrize(("old", "new"), [(True, "full"), (False, "none")])
def test_configs_from_before_there_were_remat_policies(old, new):
    values = config.to_dict(config.PriorTraining())
    values["model"]["transformer"]["remat"] = old
    assert config.from_dict(config.PriorTraining, values).model.transformer.remat == new


def test_from_dict_names_an_unknown_field():
    values = config.to_dict(config.PriorTraining())
    values["model"]["transformer"]["heads"] = 3
    with pytest.raises(ValueError, match=r"config\.model\.transformer has no field heads; did you mean num_heads\?"):
        config.from_dict(config.PriorTraining, values)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--config=configs/vqvae.py:scale=tiny", "--config.model.widht=3"], "widht"),
        (["--config=configs/vqvae.py:scale=unknown"], "tiny, base"),
        (["--config=configs/vqvae.py:scale=tiny", "--config.clip_samples=many"], "clip_samples"),
        (["--config=configs/missing.py"], "missing.py"),
        (["--config=configs/prior.py:scale=tiny"], "is a PriorTraining where this command takes a VQVAETraining"),
        (["--config=vqvae.py:scale=tini"], "scale=tini: must be one of tiny, base; did you mean tiny?"),
        (["--config=vqvae", "--config.training.num_stepz=3"], "did you mean num_steps?"),
        (["--config=vqvae", "--config.training=3"], "--config.training is a group of fields"),
        (["--config=vqvae", "--config.clip_samples.x=3"], "config.clip_samples is a value, which has no field x"),
        (["--config=vqvae", "--config.model.top.downsampling=3,a"], "downsampling[0] is '3,a' and must be a whole"),
        (["--config=vqvae", "--config.data.path=s3://bucket"], "--config.data.path=s3://bucket: only paths on this"),
        (["--config=gs://bucket/vqvae.py:scale=tiny"], "--config=gs://bucket/vqvae.py:scale=tiny: only paths on this"),
        (["--config=vqvea"], "did you mean vqvae?"),
        (["--config=vqvae", "--config=vqvae"], "--config is given 2 times: give it once"),
        (["--config=vqvae", "--config.training.num_steps=1e30"], "num_steps=1e30: must be a whole number, such as"),
        (["--config=vqvae", "--config.training.ema_decay=half"], "ema_decay=half: must be a number, such as 0"),
    ],
)
def test_the_command_line_answers_in_one_line(arguments, named, tmp_path):
    done = command_line.run("musicgen_jax.train_vqvae", f"--workdir={tmp_path / 'run'}", *arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert named in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config(:", r"mine\.py, line 1: invalid syntax"),
        ("import no_such_module", r"mine\.py, line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def get_config(arg=None):\n    return 1 / 0", r"mine\.py, line 2: ZeroDivisionError"),
        ("x = 1", r"mine\.py has no function get_config"),
        ("\0", r"mine\.py"),
    ],
)
def test_a_config_file_that_fails_is_named_with_the_line(content, message, tmp_path):
    (tmp_path / "mine.py").write_text(content)
    with pytest.raises(UserError, match=message):
        config_flag.load(str(tmp_path / "mine.py"))


def test_own_config_files_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("configs/vqvae.py", "vqvae.py", "vqvae"):
        assert config_flag.load(name, "scale=base") == load("vqvae").get_config("scale=base")
    (tmp_path / "vqvae.py").write_text("def get_config(arg=None):\n    return 'the one in the working directory'")
    assert config_flag.load("vqvae.py") == "the one in the working directory"
    there = ", ".join(sorted(path.name for path in (REPOSITORY / "configs").glob("*.py")))
    with pytest.raises(UserError, match=rf"no such file; .*configs \({re.escape(there)}\)"):
        config_flag.load("elsewhere/vqvae.py")
