"""Save and restore: every bit, any mesh, no torn checkpoint, one error for every difference."""

import dataclasses
import json
import pathlib
import resource
import shutil
from collections.abc import Callable

import jax
import numpy as np
import pytest
import tiny_runs
import toy

from musicgen_jax import config
from musicgen_jax.sharding import mesh as mesh_lib
from musicgen_jax.sharding import rules
from musicgen_jax.training import checkpointing, contents, damage, digests, optimizer, state

TRAINING = config.TrainingConfig(num_steps=10, ema_decay=0.9)
TX = optimizer.make_optimizer(tiny_runs.OPTIMIZER, TRAINING.num_steps)
TOY = {"width": 4}


def abstract(task: state.Task, mesh: jax.sharding.Mesh, training: config.TrainingConfig = TRAINING) -> state.TrainState:
    return state.abstract_state(task, training, TX, rules.AxisRules(), mesh)


def filled(task: state.Task, mesh: jax.sharding.Mesh) -> state.TrainState:
    """A state of arbitrary numbers in every leaf, the optimizer's too; nothing is compiled."""
    rng = np.random.default_rng(0)

    def fill(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.device_put((100 * rng.standard_normal(leaf.shape)).astype(leaf.dtype), leaf.sharding)

    made = jax.tree.map(fill, abstract(task, mesh))
    made.step = jax.device_put(np.int32(3), made.step.sharding)
    return made


def toy_states(count: int) -> list[state.TrainState]:
    """States after 1, 2, ... steps."""
    current, train_step = tiny_runs.start(toy.task(), TRAINING, toy.mesh())
    states = []
    for index in range(count):
        current, _ = train_step(jax.tree.map(jax.numpy.copy, current), toy.batch(index))
        states.append(current)
    return states


@pytest.fixture(scope="module")
def states() -> list[state.TrainState]:
    return toy_states(4)


def test_round_trip_and_keep(tmp_path, states):
    """Saved at once one after the other: none may be left out, and the oldest go."""
    with checkpointing.Checkpointer(tmp_path, keep=3) as checkpointer:
        for current in states:
            checkpointer.save(current, TOY)
        checkpointer.save(states[-1], TOY)  # again the same step: no error
    assert sorted(item.name for item in (tmp_path / "checkpoints").iterdir()) == ["2", "3", "4"]
    with checkpointing.Checkpointer(tmp_path, keep=3) as checkpointer:
        assert checkpointer.latest_step() == 4
        restored = checkpointer.restore(abstract(toy.task(), toy.mesh()), TOY)
        assert jax.tree.structure(restored) == jax.tree.structure(states[-1])
        assert toy.equal(restored, states[-1])
        params, buffers = checkpointer.restore_model(
            TOY, *(getattr(abstract(toy.task(), toy.mesh()), name) for name in ("params", "buffers"))
        )
    assert toy.equal(params, states[-1].ema_params) and toy.equal(buffers, states[-1].buffers)


def test_abstract_state_is_the_initial_state_without_its_values():
    made = state.initial_state(toy.task(), TRAINING, TX, rules.AxisRules(), toy.mesh())
    described = abstract(toy.task(), toy.mesh())
    facts = [jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), tree) for tree in (made, described)]
    assert facts[0] == facts[1]


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="train first"):
        checkpointing.Checkpointer(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "checkpoints").mkdir()
    with checkpointing.Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.latest_step() is None
        with pytest.raises(FileNotFoundError, match="no complete checkpoint"):
            checkpointer.restore_model(TOY, {}, {})


def test_half_written_checkpoint_is_ignored(tmp_path, states):
    with checkpointing.Checkpointer(tmp_path, keep=2) as checkpointer:
        checkpointer.save(states[0], TOY)
    whole = tmp_path / "checkpoints" / "1"
    torn = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    torn.mkdir()
    (torn / "model").mkdir()
    # Reading (to sample from a run that goes on) leaves the half-written one alone; a new run clears it away.
    with checkpointing.Checkpointer(tmp_path) as reader:
        assert reader.latest_step() == 1
    assert torn.exists()
    with checkpointing.Checkpointer(tmp_path, keep=2) as writer:
        assert writer.latest_step() == 1
        writer.restore(abstract(toy.task(), toy.mesh()), TOY)
    assert whole.exists() and not torn.exists()


def test_format_version(tmp_path, states, monkeypatch):
    monkeypatch.setattr(contents, "FORMAT_VERSION", 0)
    with checkpointing.Checkpointer(tmp_path, keep=2) as checkpointer:
        checkpointer.save(states[0], TOY)
    monkeypatch.setattr(contents, "FORMAT_VERSION", 1)
    with (
        checkpointing.Checkpointer(tmp_path) as checkpointer,
        pytest.raises(ValueError, match="format_version: checkpoint 0, this code 1"),
    ):
        checkpointer.restore(abstract(toy.task(), toy.mesh()), TOY)


def test_without_moving_average(tmp_path):
    training = dataclasses.replace(TRAINING, ema_decay=0.0)
    current = state.initial_state(toy.task(), training, TX, rules.AxisRules(), toy.mesh())
    with checkpointing.Checkpointer(tmp_path, keep=1) as checkpointer:
        checkpointer.save(current, TOY)
        described = abstract(toy.task(), toy.mesh(), training)
        assert toy.equal(checkpointer.restore(described, TOY), current)
        params, _ = checkpointer.restore_model(TOY, described.params, described.buffers)
        assert toy.equal(params, current.params)
        with pytest.raises(ValueError, match="model/ema_params/linear/kernel: checkpoint absent"):
            checkpointer.restore(abstract(toy.task(), toy.mesh()), TOY)


def save_prior(tmp_path, mesh: jax.sharding.Mesh) -> tuple[config.PriorConfig, state.TrainState]:
    model = tiny_runs.prior_config("middle")
    current = filled(tiny_runs.prior_task(model), mesh)
    with checkpointing.Checkpointer(tmp_path, keep=1) as checkpointer:
        checkpointer.save(current, config.to_dict(model))
    return model, current


def test_another_tier_and_another_width_list_every_difference(tmp_path):
    save_prior(tmp_path, toy.mesh())
    other = tiny_runs.prior_config("top")
    other.transformer.width = 32
    task = tiny_runs.prior_task(other)
    described = abstract(task, toy.mesh())
    with checkpointing.Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(ValueError) as caught:
            checkpointer.restore(described, config.to_dict(other))
        with pytest.raises(ValueError) as caught_by_reader:
            checkpointer.restore_model(config.to_dict(other), described.params, described.buffers)
    for message in (str(caught.value), str(caught_by_reader.value)):
        for line in (
            "tier: checkpoint middle, this run top",
            "upsampling: checkpoint 4, this run 0",
            "transformer/width: checkpoint 16, this run 32",
            "model/params/codes: checkpoint float32[16, 16], this run float32[16, 32]",
            "model/params/upsampler/codes: checkpoint float32[16, 8], this run absent",
        ):
            assert line in message
        assert str(tmp_path) in message
    assert "trainer/opt_state/" in str(caught.value) and "trainer/" not in str(caught_by_reader.value)
    # Every array that has the width in its shape, and no other: those of the stack, once each.
    shapes = [leaf.shape for leaf in jax.tree.leaves(described.params) if 32 in leaf.shape]
    listed = [part for part in str(caught_by_reader.value).split("; ") if part.startswith("model/params/")]
    assert len([part for part in listed if "absent" not in part]) == len(shapes) - KEPT_SHAPES


KEPT_SHAPES = 2  # the distance table (context 32) and the MLP's hidden bias (mlp_width 32)


def test_levers_may_change_and_old_configs_have_fewer_fields(tmp_path):
    model = tiny_runs.prior_config("middle")
    old = config.to_dict(model)
    for name in ("window", "beyond", "attention"):
        del old["transformer"][name]
    del old["loss_chunk"]
    old["transformer"]["remat"] = True
    current = filled(tiny_runs.prior_task(model), toy.mesh())
    with checkpointing.Checkpointer(tmp_path, keep=1) as checkpointer:
        checkpointer.save(current, old)
        model.loss_chunk, model.transformer.remat, model.transformer.attention = 8, "dots", "blocked"
        described = abstract(tiny_runs.prior_task(model), toy.mesh())
        assert toy.equal(checkpointer.restore(described, config.to_dict(model)), current)
        model.transformer.window = 4  # changes what the model computes
        with pytest.raises(ValueError, match=r"transformer/window: checkpoint 0, this run 4$"):
            checkpointer.restore(described, config.to_dict(model))


def test_another_model_altogether(tmp_path):
    save_prior(tmp_path, toy.mesh())
    with (
        checkpointing.Checkpointer(tmp_path) as checkpointer,
        pytest.raises(ValueError, match=r"transformer/width: checkpoint 16, this run absent.*model/buffers/"),
    ):
        checkpointer.restore(abstract(tiny_runs.vqvae_task(), toy.mesh()), config.to_dict(tiny_runs.vqvae_config()))


@pytest.mark.parametrize(("saved_on", "restored_on"), [(8, 1), (1, 8)])
def test_another_mesh(tmp_path, saved_on, restored_on):
    meshes = {
        1: toy.mesh(),
        8: mesh_lib.make_mesh(config.MeshConfig(data=2, fsdp=2, tensor=2), jax.devices()[:8]),
    }
    model, current = save_prior(tmp_path, meshes[saved_on])
    described = abstract(tiny_runs.prior_task(model), meshes[restored_on])
    with checkpointing.Checkpointer(tmp_path) as checkpointer:
        restored = checkpointer.restore(described, config.to_dict(model))
    assert toy.equal(restored, current)
    shardings = jax.tree.map(lambda x, like: x.sharding.is_equivalent_to(like.sharding, x.ndim), restored, described)
    assert jax.tree.all(shardings)


def test_metadata_is_readable_json(tmp_path, states):
    with checkpointing.Checkpointer(tmp_path, keep=1) as checkpointer:
        checkpointer.save(states[0], TOY)
    files = [path for path in (tmp_path / "checkpoints" / "1").rglob("*") if path.is_file()]
    texts = [path.read_text() for path in files if path.name == "_CHECKPOINT_METADATA"]
    facts = json.loads(texts[0])["custom_metadata"]
    assert {name: facts[name] for name in ("format_version", "config", "items")} == {
        "format_version": 1,
        "config": TOY,
        "items": ["model", "trainer"],
    }
    shape, digest = facts["arrays"]["model"]["params/linear/kernel"]
    assert shape == "float32[4, 1]" and len(bytes.fromhex(digest)) == 4
    assert np.int32(states[0].step) == 1


def truncated(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: truncated(folder / "_CHECKPOINT_METADATA"),
        lambda folder: truncated(folder / "trainer" / "_METADATA"),
        lambda folder: truncated(folder / "model" / "manifest.ocdbt"),
        lambda folder: truncated(next((folder / "model" / "d").iterdir())),
        lambda folder: next((folder / "trainer" / "d").iterdir()).unlink(),
        lambda folder: truncated(folder / "model" / "array_metadatas" / "process_0"),
        lambda folder: shutil.rmtree(folder / "model"),
        lambda folder: shutil.rmtree(folder / "trainer"),
    ],
)
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(tmp_path, states, damage, capsys):
    with checkpointing.Checkpointer(tmp_path, keep=3) as checkpointer:
        for current in states[:2]:
            checkpointer.save(current, TOY)
    damage(tmp_path / "checkpoints" / "2")
    described = abstract(toy.task(), toy.mesh())
    with checkpointing.Checkpointer(tmp_path) as reader:  # leaves everything as it is
        assert toy.equal(reader.restore(described, TOY), states[0])
    assert (tmp_path / "checkpoints" / "2").exists()
    with checkpointing.Checkpointer(tmp_path, keep=3) as writer:
        assert toy.equal(writer.restore(described, TOY), states[0])
        assert capsys.readouterr().err.count("checkpoint 2 in ") == 2
        assert writer.latest_step() == 1
        writer.save(states[1], TOY)  # the same step anew
        assert toy.equal(writer.restore(described, TOY), states[1])
    assert sorted(item.name for item in (tmp_path / "checkpoints").iterdir()) == ["1", "2", "2.damaged"]


def test_nothing_is_set_aside_before_a_whole_one_is_loaded(tmp_path, states):
    """What makes all of them look damaged may be no damage; and a folder with checkpoints is never begun anew."""
    described = abstract(toy.task(), toy.mesh())
    with checkpointing.Checkpointer(tmp_path, keep=3) as checkpointer:
        for current in states[:2]:
            checkpointer.save(current, TOY)
    for step in "12":
        shutil.rmtree(tmp_path / "checkpoints" / step / "model")
    with checkpointing.Checkpointer(tmp_path, keep=3) as checkpointer:
        with pytest.raises(
            damage.DamagedError, match=r"no checkpoint in .* is whole \(checkpoint 2 .*: put a copy back"
        ):
            checkpointer.restore(described, TOY)
        assert sorted(item.name for item in (tmp_path / "checkpoints").iterdir()) == ["1", "2"]
    # As an earlier version of this code may have left it.
    for step in "12":
        (tmp_path / "checkpoints" / step).rename(tmp_path / "checkpoints" / f"{step}.damaged")
    for keep in (None, 3):
        with checkpointing.Checkpointer(tmp_path, keep=keep) as checkpointer:
            for attempt in (checkpointer.latest_step, lambda: checkpointer.restore(described, TOY)):
                with pytest.raises(damage.DamagedError, match=r"2.damaged was set aside.*: put a copy back"):
                    attempt()


def saved_twice(folder: pathlib.Path, states: list[state.TrainState]) -> pathlib.Path:
    """Writes checkpoints 1 and 2; returns the folder of 2."""
    with checkpointing.Checkpointer(folder, keep=3) as checkpointer:
        for current in states[:2]:
            checkpointer.save(current, TOY)
    return folder / "checkpoints" / "2"


def test_flipped_bits_are_never_taken(tmp_path, states, capsys):
    """Twenty in each kind of file: what loads is one of the two bit for bit, and it is said if it is the one before."""
    newest = saved_twice(tmp_path, states)
    described, rng, refused = abstract(toy.task(), toy.mesh()), np.random.default_rng(0), 0
    (data,) = (newest / "model" / "d").iterdir()  # arrays so small that they lie in the index
    for file in (newest / "_CHECKPOINT_METADATA", newest / "model" / "_METADATA", data):
        whole = file.read_bytes()
        for _ in range(20):
            flipped = bytearray(whole)
            flipped[rng.integers(len(whole))] ^= 1 << rng.integers(8)
            file.write_bytes(flipped)
            with checkpointing.Checkpointer(tmp_path) as reader:
                params, buffers = reader.restore_model(TOY, described.params, described.buffers)
            said = "checkpoint 2 in " in capsys.readouterr().err
            expected = states[0] if said else states[1]
            assert toy.equal((params, buffers), (expected.ema_params, expected.buffers)), file
            refused += said
        file.write_bytes(whole)
    assert refused > 30


def test_a_changed_array_is_refused_or_taken_unverified(tmp_path, states, capsys):
    """Whatever its bytes on disk are called, an array that is not the one that was saved."""
    (params, buffers), digest = (states[0].ema_params, states[0].buffers), digests.of_arrays
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "of_arrays", lambda arrays: digest(arrays) | {"model/params/linear/bias": "00000000"})
        with checkpointing.Checkpointer(tmp_path, keep=1) as writer:
            writer.save_model(params, buffers, TOY)
    with (
        checkpointing.Checkpointer(tmp_path) as reader,
        pytest.raises(damage.DamagedError, match="1 of its 3 arrays are not as they were written, model/params/linear"),
    ):
        reader.restore_model(TOY, params, buffers)
    with checkpointing.Checkpointer(tmp_path, verify=False) as reader:
        assert toy.equal(reader.restore_model(TOY, params, buffers), (params, buffers))
    assert not capsys.readouterr().err


def test_checkpoints_without_digests_load(tmp_path, states, monkeypatch):
    facts = contents.facts
    young = ("arrays", "digest")
    monkeypatch.setattr(contents, "facts", lambda *args: {k: v for k, v in facts(*args).items() if k not in young})
    newest = saved_twice(tmp_path, states)
    described = abstract(toy.task(), toy.mesh())
    with checkpointing.Checkpointer(tmp_path) as reader:
        assert toy.equal(reader.restore(described, TOY), states[1])
        assert toy.equal(reader.restore_model(TOY, described.params, described.buffers)[0], states[1].ema_params)
    truncated(newest / "trainer" / "array_metadatas" / "process_0")
    with checkpointing.Checkpointer(tmp_path) as reader:
        assert toy.equal(reader.restore(described, TOY), states[0])


def unreadable(path: pathlib.Path, target: pathlib.Path | str) -> Callable[[], None]:
    """Makes reading `path` fail as a disk does; returns what mends it."""
    kept = path.with_name("kept")
    path.rename(kept)
    path.symlink_to(target)

    def mend() -> None:
        path.unlink()
        kept.rename(path)

    return mend


@pytest.mark.parametrize(
    "file", ["_CHECKPOINT_METADATA", "model/_METADATA", "trainer/array_metadatas/process_0", "data"]
)
def test_a_read_error_is_no_damage(tmp_path, states, file, capsys):
    """The system fails: EIO from /proc/self/mem; for TensorStore, which asks how long that is, too many links."""
    newest = saved_twice(tmp_path, states)
    path = next((newest / "model" / "d").iterdir()) if file == "data" else newest / file
    mend = unreadable(path, path if file == "data" else "/proc/self/mem")
    names = sorted(item.name for item in (tmp_path / "checkpoints").iterdir())
    described = abstract(toy.task(), toy.mesh())
    for keep in (None, 3):
        with (
            checkpointing.Checkpointer(tmp_path, keep=keep) as checkpointer,
            pytest.raises(damage.UnreadableError, match=r"checkpoint 2 in .* could not be read: .*nothing was changed"),
        ):
            checkpointer.restore(described, TOY)
    assert sorted(item.name for item in (tmp_path / "checkpoints").iterdir()) == names == ["1", "2"]
    mend()
    with checkpointing.Checkpointer(tmp_path, keep=3) as checkpointer:
        assert toy.equal(checkpointer.restore(described, TOY), states[1])
    assert not capsys.readouterr().err


def test_no_space(tmp_path, states):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with checkpointing.Checkpointer(tmp_path, keep=3) as checkpointer:
        checkpointer.save(states[0], TOY)
        checkpointer.latest_step()
        resource.setrlimit(resource.RLIMIT_FSIZE, (256, hard))  # as a quota would
        try:
            with pytest.raises(OSError, match="no space left for a checkpoint: free some"):
                checkpointer.save(states[1], TOY)
                checkpointer.latest_step()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with checkpointing.Checkpointer(tmp_path, keep=3) as checkpointer:
        assert toy.equal(checkpointer.restore(abstract(toy.task(), toy.mesh()), TOY), states[0])
