"""Save and restore: every bit, any mesh, no torn checkpoint, one error for every difference."""

import dataclasses
import errno
import json
import resource
import types

import jax
import numpy as np
import optax
import pytest
import tiny_runs
import toy

from musicgen_jax import config
from musicgen_jax.sharding import meshes
from musicgen_jax.training import checkpointing, contents, optimizer, state

TRAINING = config.TrainingConfig(num_steps=10, ema_decay=0.9)
TOY = {"width": 4}


def tx(task: state.Task) -> optax.GradientTransformation:
    return optimizer.make_optimizer(tiny_runs.OPTIMIZER, TRAINING.num_steps, task.functional.declared)


def abstract(task: state.Task, mesh: jax.sharding.Mesh, training: config.TrainingConfig = TRAINING) -> state.TrainState:
    return state.abstract_state(task, training, tx(task), mesh)


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
    made = state.initial_state(toy.task(), TRAINING, tx(toy.task()), toy.mesh())
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
    current = state.initial_state(toy.task(), training, tx(toy.task()), toy.mesh())
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
    old = config.to_dict(model) | {"kind": "diffusion"}  # which config.json now says
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


@pytest.mark.long
@pytest.mark.parametrize(("saved_on", "restored_on"), [(8, 1), (1, 8)])
def test_another_mesh(tmp_path, saved_on, restored_on):
    by_devices = {
        1: toy.mesh(),
        8: meshes.make_mesh(config.MeshConfig(data=2, fsdp=2, tensor=2), jax.devices()[:8]),
    }
    model, current = save_prior(tmp_path, by_devices[saved_on])
    described = abstract(tiny_runs.prior_task(model), by_devices[restored_on])
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
        assert [item.name for item in (tmp_path / "checkpoints").iterdir()] == ["1"]
    with checkpointing.Checkpointer(tmp_path, keep=3) as checkpointer:
        assert toy.equal(checkpointer.restore(abstract(toy.task(), toy.mesh()), TOY), states[0])


@pytest.mark.parametrize(
    ("error", "number", "message"),
    [
        (
            OSError(errno.EACCES, "Permission denied", "somewhere"),
            errno.EACCES,
            "could not be written (Permission denied)",
        ),
        (ValueError("PERMISSION_DENIED: Error [os_error_code='30']"), errno.EROFS, "(Read-only file system): mend it"),
        (ValueError("RESOURCE_EXHAUSTED: Error [os_error_code='122']"), errno.ENOSPC, "no space left for a checkpoint"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(tmp_path, states, monkeypatch, error, number, message):
    def refuse(*args, **kwargs):
        (tmp_path / "checkpoints" / "1.orbax-checkpoint-tmp-0").mkdir()
        raise error

    monkeypatch.setattr(checkpointing.ocp.training.Checkpointer, "save_checkpointables_async", refuse)
    with checkpointing.Checkpointer(tmp_path, keep=3) as checkpointer:
        with pytest.raises(OSError) as caught:
            checkpointer.save(states[0], TOY)
        assert caught.value.errno == number and caught.value.filename == str(tmp_path / "checkpoints")
        assert message in caught.value.strerror and "goes on from the newest whole" in caught.value.strerror
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_full_disk_is_told_whichever_writer_is_heard_first(tmp_path, states, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("Event loop is closed")

    monkeypatch.setattr(checkpointing.ocp.training.Checkpointer, "save_checkpointables_async", refuse)
    with checkpointing.Checkpointer(tmp_path, keep=3) as checkpointer:
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            checkpointer.save(states[0], TOY)  # there is space: a defect
        monkeypatch.setattr(checkpointing.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=4096))
        with pytest.raises(OSError, match="no space left for a checkpoint: free some, and run the same command again"):
            checkpointer.save(states[0], TOY)


@pytest.mark.parametrize("name", ["007", "\u0664", "\u00b2", "-5", "4.damaged_notes"])
def test_folders_with_other_names_are_no_checkpoints(name, tmp_path):
    """Some of them are digits to Python, and none is a step that was saved."""
    with checkpointing.Checkpointer(tmp_path, keep=2) as checkpointer:
        checkpointer.save(toy_states(1)[0], TOY)
        (tmp_path / "checkpoints" / name).mkdir()
        assert checkpointer.latest_step() == 1
