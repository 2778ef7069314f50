"""Trained models go on on other data: whole, or as adapters beside them; in process, and from the command line."""

import dataclasses
import functools
import json
import pathlib
import re
import shlex
import shutil
import types
from collections.abc import Sequence

import command_line
import conftest
import documented_commands
import jax
import numpy as np
import pytest
import tiny_diffusion
import tiny_priors
import tiny_scores
import tiny_workdirs

from musicgen_jax import config, finetuning, kinds, pretrained
from musicgen_jax.codes import caption_vectors, code_dataset, score_dataset
from musicgen_jax.compression import figures
from musicgen_jax.data import preparation
from musicgen_jax.evaluation import prior_likelihood
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.sharding import meshes
from musicgen_jax.tokenizers import extraction
from musicgen_jax.training import bases, loop

pytestmark = pytest.mark.long
MELODY = 77  # of the one recording: none of those that the base was trained on


@pytest.fixture(scope="module")
def own_codes(tmp_path_factory, tiny_tokenizer) -> str:
    """Codes of one recording that was cut into six files, of a genre and an artist of its own."""

    def make(folder: pathlib.Path) -> None:
        lengths = (40_000,) * 6
        blocks = functools.partial(conftest._blocks, MELODY, lengths[0])
        labels = {"genre": "organ", "artist": "me"}
        tracks = [dataclasses.replace(one, blocks=blocks, labels=labels) for one in conftest.tone_tracks(lengths)]
        source = types.SimpleNamespace(tracks=lambda *_: (tracks, []))
        settings = preparation.Settings("recordings", "", conftest.SAMPLE_RATE, seed=14)
        preparation.prepare(settings, source, f"{folder}.audio", num_workers=0)
        extraction.extract(tiny_tokenizer, f"{folder}.audio", str(folder), window_seconds=4.0)

    return str(conftest.made_once(tmp_path_factory, "own_codes", make))


@pytest.fixture(scope="module")
def base(tiny_codes, tmp_path_factory) -> pathlib.Path:
    """A middle prior that knows the other melodies, with a moving average."""
    model = tiny_priors.model_config("middle", context=32, label_dropout=0.1)
    run = config.PriorTraining(
        model=code_dataset.resolve(model, tiny_codes),
        data=config.DataConfig(path=tiny_codes, batch_size=8),
        optimizer=config.OptimizerConfig(peak_learning_rate=1e-2),
        training=config.TrainingConfig(num_steps=30, eval_every=0, checkpoint_every=30, ema_decay=0.9),
    )
    folder = tmp_path_factory.mktemp("base") / "middle"
    train(run, folder)
    return folder


def train(run: config.PriorTraining, folder: pathlib.Path, mesh: jax.sharding.Mesh | None = None, begins: bool = False):
    """What train_prior does behind its flags."""
    mesh = mesh or meshes.single_device_mesh()
    task = kinds.task(run)
    frozen = finetuning.begin(task, run, folder, mesh) if begins else {}
    batches = code_dataset.training_batches(run, mesh)
    return loop.train(task, run, folder, mesh, batches, lambda: iter(()), frozen=frozen)


def own_run(base: pathlib.Path, codes: str, rank: int = 2, steps: int = 4, **training) -> config.PriorTraining:
    """The config of a run that begins from `base`, as train_prior makes it without --config."""
    run = config.for_own_data(kinds.read_run(str(base), "prior"), rank > 0)
    run.data.path, run.lora.rank = codes, rank
    run.training = dataclasses.replace(run.training, num_steps=steps, **{"checkpoint_every": steps, **training})
    assert finetuning.inherit(run, str(base), str(base / "absent"), [], code_dataset.inherited)
    return run


def digests(workdir: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(workdir)): path.read_bytes() for path in workdir.rglob("*") if path.is_file()}


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def nats(prior, codes: str) -> float:
    held_out = dataclasses.replace(prior, codes_path=codes)
    return prior_likelihood.evaluate_prior(held_out, "validation", 4000)["nats_per_code"]


def same(found, expected) -> None:
    for one, other in zip(leaves(found), leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_adapters_that_have_not_learned_are_the_base_bit_for_bit(base, own_codes, tmp_path):
    run = own_run(base, own_codes)
    fresh = kinds.task(run).functional.init(jax.random.key(0))
    tiny_workdirs.write_workdir(tmp_path / "own", run, fresh)
    same(pretrained.load_prior(str(tmp_path / "own")).weights, pretrained.load_prior(str(base)).weights)


def test_a_whole_model_begins_as_the_base_with_new_labels_as_unknown(base, own_codes, tmp_path, capsys):
    run = own_run(base, own_codes, rank=0)
    assert "artist me: new to the model, which learns it" in capsys.readouterr().err
    finetuning.begin(kinds.task(run), run, tmp_path, meshes.single_device_mesh())
    config.write_json(tmp_path / "config.json", run)
    began, had = pretrained.load_prior(str(tmp_path)), pretrained.load_prior(str(base))
    assert began.vocabularies["artist"] == (*had.vocabularies["artist"], "me")
    assert began.vocabularies["genre"] == had.vocabularies["genre"]
    grown, table = (model.weights[0]["labels"].pop("artist") for model in (began, had))
    np.testing.assert_array_equal(grown[:-1], table)
    np.testing.assert_array_equal(grown[-1], table[0])
    same(began.weights, had.weights)


def test_adapters_take_new_labels_for_unknown(base, own_codes, capsys):
    run = own_run(base, own_codes)
    assert 'artist me: new to the model, and "unknown" to its adapters' in capsys.readouterr().err
    assert run.model == kinds.read_run(str(base), "prior").model


def test_learning_interruptions_and_what_is_written(base, own_codes, tmp_path):
    before = digests(base)
    run = own_run(base, own_codes, steps=30, ema_decay=0.5, keep_checkpoints=9, checkpoint_every=15)
    run.optimizer.peak_learning_rate = 3e-2  # of a model of width 16
    final = train(run, tmp_path / "whole", begins=True)
    assert digests(base) == before
    same(final.frozen, pretrained.load_prior(str(base)).weights[0])

    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "30")
    again = train(run, tmp_path / "resumed", begins=True)
    same((again.params, again.ema_params, again.opt_state), (final.params, final.ema_params, final.opt_state))

    adapted, had = pretrained.load_prior(str(tmp_path / "whole")), pretrained.load_prior(str(base))
    assert nats(adapted, own_codes) < nats(had, own_codes) - 0.02
    for path, leaf in jax.tree.leaves_with_path(adapted.weights[0]):
        original = functools.reduce(lambda tree, key: tree[key.key], path, had.weights[0])
        is_matrix = any(key.key in ("attention", "mlp") for key in path) and path[-1].key in ("qkv", "out", "kernel")
        assert np.array_equal(leaf, original) != is_matrix, path
    stored = json.loads((tmp_path / "whole/checkpoints/30/_CHECKPOINT_METADATA").read_text())["custom_metadata"]
    own = [path for path in stored["arrays"]["model"] if path.startswith("params/")]
    assert own and all(path.endswith(("/down", "/up")) for path in own)
    whole = sum(leaf.size for leaf in leaves(had.weights[0]))
    assert sum(leaf.size for leaf in leaves(final.params)) < 0.5 * whole  # of width 16; see the realistic one below


def test_several_devices_equal_one(base, own_codes, tmp_path):
    run = own_run(base, own_codes, steps=3)
    single = train(run, tmp_path / "single", begins=True)
    run.mesh = config.MeshConfig(data=2, fsdp=2, tensor=2)
    mesh = meshes.make_mesh(run.mesh, jax.devices()[:8])
    divided = train(run, tmp_path / "divided", mesh, begins=True)
    qkv = divided.params["stack"]["layers"]["attention"]["qkv"]
    assert qkv["down"].sharding.spec == jax.P(None, None, "fsdp", None)
    assert qkv["up"].sharding.spec == jax.P(None, None, None, "tensor", None)
    for one, other in zip(leaves(divided.params), leaves(single.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-5)


def test_a_base_that_has_moved_is_found_by_its_weights(base, own_codes, tmp_path):
    shutil.copytree(base, tmp_path / "there" / "base")
    run = own_run(tmp_path / "there" / "base", own_codes, steps=1)
    adapters = tmp_path / "here" / "adapters"
    train(run, adapters, begins=True)
    expected = pretrained.load_prior(str(adapters)).weights
    (tmp_path / "there" / "base").rename(tmp_path / "here" / "renamed")
    same(pretrained.load_prior(str(adapters)).weights, expected)
    (tmp_path / "here" / "renamed").rename(tmp_path / "away")
    with pytest.raises(NotFoundError, match=f"adapters of the model {run.init.fingerprint}, which was .* name its"):
        pretrained.load_prior(str(adapters))
    assert bases.find(run.init, adapters, str(tmp_path / "away"))[0] == tmp_path / "away"
    tiny_workdirs.write_workdir(tmp_path / "here" / "other", run, tiny_priors.trained_prior(run.model).weights)
    with pytest.raises(NotFoundError):  # a model, and not that one
        pretrained.load_prior(str(adapters))


def test_a_file_of_adapters_is_small_where_models_are_large():
    """What training would write at the small scale, of which there are the shapes alone."""
    transformer = config.TransformerConfig(num_layers=24, width=1024, num_heads=16, head_dim=64, mlp_width=4096)
    run = config.PriorTraining(model=tiny_priors.model_config("top", num_codes=2048))
    run.model.transformer, run.lora.rank = transformer, 4
    functional = kinds.task(run).functional
    frozen = sum(leaf.size for leaf in jax.tree.leaves(functional.frozen))
    assert frozen > 1e8 and functional.num_parameters() < 0.02 * frozen


COMMAND = ("--config.training.num_steps=2", "--config.training.eval_every=0", "--config.data.batch_size=4")


def finetune(base: pathlib.Path, codes: str, workdir: pathlib.Path, *more: str):
    flags = (f"--init={base}", f"--workdir={workdir}", f"--config.data.path={codes}")
    return command_line.run("musicgen_jax.train_prior", *more, *flags, *COMMAND)


def test_from_the_command_line(base, own_codes, tmp_path):
    base = pathlib.Path(shutil.copytree(base, tmp_path / "base"))
    done = finetune(base, own_codes, tmp_path / "own", "--config.lora.rank=2", "--config.model.label_dropout=0.2")
    assert done.returncode == 0, done.stderr
    assert "beginning from" in done.stderr and "that stay as they are" in done.stderr
    run = kinds.read_run(str(tmp_path / "own"), "prior")
    assert run.model.label_dropout == 0.2 and run.lora.rank == 2 and run.optimizer.name == "adamw"
    assert "adapters of rank 2 alone" in (tmp_path / "own" / "model_card.md").read_text()

    on = command_line.run("musicgen_jax.train_prior", f"--workdir={tmp_path / 'own'}", "--config.training.num_steps=3")
    assert on.returncode == 0 and "resuming from step 2" in on.stderr, on.stderr
    (tmp_path / "elsewhere").mkdir()
    base.rename(tmp_path / "elsewhere" / "moved")
    merge = ("--method=merge", f"--prior={tmp_path / 'own'}", f"--out={tmp_path / 'merged'}")
    lost = command_line.run("musicgen_jax.compress", *merge)
    assert lost.returncode == 1 and "name its workdir with --base=DIR" in lost.stderr, lost.stderr
    done = command_line.run("musicgen_jax.compress", *merge, f"--base={tmp_path / 'elsewhere' / 'moved'}")
    assert done.returncode == 0, done.stderr
    merged = pretrained.load_prior(str(tmp_path / "merged"))
    again = finetune(tmp_path / "merged", own_codes, tmp_path / "more", "--config.lora.rank=1")
    assert again.returncode == 0, again.stderr
    assert kinds.read_run(str(tmp_path / "merged"), "prior").lora.rank == 0
    (tmp_path / "elsewhere" / "moved").rename(tmp_path / "beside")
    same(merged.weights, pretrained.load_prior(str(tmp_path / "own")).weights)


def test_a_whole_run_goes_on_without_its_base(base, own_codes, tmp_path):
    base = pathlib.Path(shutil.copytree(base, tmp_path / "base"))
    done = finetune(base, own_codes, tmp_path / "own")
    assert done.returncode == 0, done.stderr
    assert kinds.read_run(str(tmp_path / "own"), "prior").init.fingerprint == bases.of_workdir(base)[1]
    shutil.rmtree(base)
    done = finetune(base, own_codes, tmp_path / "own", "--config.training.num_steps=3")
    assert done.returncode == 0 and "resuming from step 2" in done.stderr, done.stderr


REFUSED = {
    "lora.rank=-1: must be at least 0": ["--config.lora.rank=-1"],
    "lora.rank=16: must be less than 16": ["--config.lora.rank=16"],
    "lora.targets=attention,drums: 'drums' must be one of": ["--config.lora.targets=attention,drums"],
    "width=32: the model in .* has 16, and goes on as it is: leave it out": ["--config.model.transformer.width=32"],
    "holds a model of middle, and --config is of top": ["--config=configs/prior.py:tier=top,scale=tiny"],
    "holds a prior, and --config is of a composer": ["--config=configs/symbolic.py:scale=tiny"],
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_one_line(base, own_codes, tmp_path, message):
    flags = [*REFUSED[message]]
    if "rank" not in flags[0]:
        flags.append("--config.lora.rank=1")
    done = finetune(base, own_codes, tmp_path / "own", *flags)
    assert done.returncode == 1 and len(done.stderr.splitlines()) <= 3, done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "own" / "checkpoints").exists()


def test_models_that_cannot_go_on(base, own_codes, tiny_tokenizer, tmp_path):
    tiny_workdirs.write_workdir(
        tmp_path / "vqvae", config.VQVAETraining(model=tiny_tokenizer.config), tiny_tokenizer._weights
    )
    fresh = own_run(base, own_codes)

    def inherit(init: pathlib.Path, message: str, run: config.PriorTraining = fresh) -> None:
        with pytest.raises(UserError, match=message):
            finetuning.inherit(run, str(init), str(tmp_path / "absent"), [], code_dataset.inherited)

    inherit(tmp_path / "vqvae", "holds a three-tier tokenizer, not a prior or .* a composer: pass")
    inherit(tmp_path / "nothing", "no such folder")
    changed = {
        "int8": (lambda run: setattr(run.model.quantization, "weights", "int8"), "holds int8 weights"),
        "adapters": (lambda run: setattr(run.lora, "rank", 2), "holds adapters: compress --method=merge"),
        "other": (
            lambda run: setattr(run.model, "vqvae", "beef"),
            "and the model knows those of beef: extract the codes",
        ),
    }
    for name, (change, message) in changed.items():
        shutil.copytree(base, tmp_path / name)
        run = kinds.read_run(str(base), "prior")
        change(run)
        config.write_json(tmp_path / name / "config.json", run)
        inherit(tmp_path / name, message)
    alone = dataclasses.replace(fresh, lora=config.LoRAConfig(rank=4))
    inherit("", "adapters are of a trained model: name it with --init=DIR", alone)


def test_a_folder_goes_on_as_it_began(base, own_codes, tmp_path):
    run = own_run(base, own_codes)
    config.write_json(tmp_path / "config.json", run)

    def inherit(run: config.PriorTraining, init: pathlib.Path | str = "") -> None:
        finetuning.inherit(run, str(init), str(tmp_path), [], code_dataset.inherited)

    again = dataclasses.replace(run, init=config.InitConfig())
    inherit(again)
    assert again == run
    with pytest.raises(UserError, match="rank=2, now 0: give the same"):
        inherit(dataclasses.replace(run, lora=config.LoRAConfig()))
    tiny_workdirs.write_workdir(tmp_path / "other", run, tiny_priors.trained_prior(run.model).weights)
    with pytest.raises(UserError, match=r"of which init=\S*other has no checkpoint"):
        inherit(dataclasses.replace(run), tmp_path / "other")
    config.write_json(tmp_path / "config.json", dataclasses.replace(run, init=config.InitConfig()))
    with pytest.raises(UserError, match="holds a run that did not begin from another model"):
        inherit(dataclasses.replace(run), base)


def test_documented_commands_exist():
    text = (command_line.REPOSITORY / "docs" / "finetuning.md").read_text().replace("\\\n", "")
    commands = [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("    musicgen-jax ")]
    assert {words[0] for words in commands} == {"prepare_data", "extract_codes", "train_prior", "sample", "compress"}
    for verb, *arguments in commands:
        documented_commands.check(verb, arguments)


class Encoder:
    """Of captions: as many vectors as a text has words."""

    width, fingerprint = 4, "f4ce"

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        lengths = [len(text.split()) for text in texts]
        mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
        return np.float32(mask[..., None] * np.arange(1, self.width + 1)), mask


@pytest.mark.parametrize("kind", ["composer", "diffusion", "prior"])
def test_other_models_go_on_too(kind, tiny_codes, own_codes, tmp_path):
    """Those of scores, those that look both ways, and one that is told captions by an encoder that it does not name."""
    data, base_data, own_data = code_dataset, tiny_codes, own_codes
    if kind == "composer":
        data, base_data = score_dataset, tiny_scores.prepare(tmp_path / "scores")
        own_data = tiny_scores.prepare(tmp_path / "own_scores", 6)
        model = tiny_scores.model_config(context=32)
    elif kind == "diffusion":
        model = tiny_diffusion.model_config("middle", context=32)
    else:
        base_data, own_data = (
            shutil.copytree(codes, tmp_path / pathlib.Path(codes).name) for codes in (tiny_codes, own_codes)
        )
        model = tiny_priors.model_config("middle", context=32, text=True, text_dropout=0.1)
        for codes in (base_data, own_data):
            caption_vectors.write(str(codes), Encoder())
    base = kinds.KINDS[kind].config(model=data.resolve(model, str(base_data)))
    if kind == "prior":
        base.model.text_encoder = ""  # as converted ones have it
    weights = kinds.task(base).functional.init(jax.random.key(0))
    tiny_workdirs.write_workdir(tmp_path / "base", base, weights)

    run = config.for_own_data(base, True)
    run.data.path, run.data.batch_size, run.lora.rank = str(own_data), 4, 2
    run.training = dataclasses.replace(run.training, num_steps=2)
    assert finetuning.inherit(run, str(tmp_path / "base"), str(tmp_path / "own"), [], data.inherited)
    mesh, task = meshes.single_device_mesh(), kinds.task(run)
    frozen = finetuning.begin(task, run, tmp_path / "own", mesh)
    batches = data.training_batches(run, mesh)
    loop.train(task, run, tmp_path / "own", mesh, batches, lambda: iter(()), frozen=frozen)
    model = pretrained.load_trained_on_codes(str(tmp_path / "own"))
    assert model.config.text_encoder == ("f4ce" if kind == "prior" else "")
    pairs = zip(leaves(model.weights[0]), leaves(weights[0]), strict=True)
    moved = [np.any(one != other) for one, other in pairs]
    assert any(moved) and not all(moved)


def test_what_is_known_of_the_data_of_a_run_that_began_from_another(base, own_codes, tiny_codes, capsys):
    """Its labels and lengths are those of the model that it began from."""
    run = own_run(base, own_codes)
    figures.check_codes(own_codes, run.model, inherits=True)
    assert "warning" not in capsys.readouterr().err
    figures.check_codes(own_codes, run.model)
    assert "is not what the prior was trained on" in capsys.readouterr().err
    assert code_dataset.may_be_of(run.model, tiny_codes, inherits=True)
