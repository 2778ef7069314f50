"""Checkpoints that lose files or bits are set aside for the one before; one that cannot be read is left alone."""

import errno
import pathlib
import shutil
from collections.abc import Callable

import numpy as np
import pytest
import test_checkpointing
import toy

from musicgen_jax.training import checkpointing, contents, damage, digests, state, verification

TOY, abstract = test_checkpointing.TOY, test_checkpointing.abstract


@pytest.fixture(scope="module")
def states() -> list[state.TrainState]:
    return test_checkpointing.toy_states(2)


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


@pytest.mark.long
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
    with checkpointing.Checkpointer(tmp_path) as reader, verification.off():
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


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (damage.UnreadableError, OSError(errno.ESTALE, "Stale file handle")),
        (damage.UnreadableError, PermissionError(errno.EACCES, "Permission denied")),
        (damage.UnreadableError, ValueError("UNAVAILABLE: Error reading: connection reset")),
        (damage.UnreadableError, ValueError("INTERNAL: Input/output error")),
        (damage.UnreadableError, ValueError("what nobody has foreseen")),
        (damage.UnreadableError, ValueError("DATA_LOSS: Error reading: end of file [os_error_code='5']")),
        (damage.DamagedError, ValueError("DATA_LOSS: Error reading: Digest mismatch")),
        (damage.DamagedError, FileNotFoundError("model is not there")),
        (damage.DamagedError, KeyError("tree_metadata")),
        (MemoryError, MemoryError()),
        (TypeError, TypeError("a defect")),
    ],
)
def test_what_is_damage_and_what_is_not(kind, error):
    class WrappedError(KeyError):
        """As Orbax wraps it."""

    with pytest.raises(kind), damage.explained("checkpoint 1"):
        raise error
    if kind in (damage.UnreadableError, damage.DamagedError):
        with pytest.raises(kind, match="checkpoint 1 "), damage.explained("checkpoint 1"):
            raise WrappedError("Failed to load model") from error


def test_processes_agree(monkeypatch):
    """What one process meets all raise; a storage error outweighs damage, for nothing may be set aside then."""

    def process(said: str) -> Callable[[], None]:
        def attempt() -> None:
            if said:
                raise {"d": damage.DamagedError, "u": damage.UnreadableError}[said[0]](said)

        return attempt

    def told(attempts: tuple[str, ...], own: int) -> str:
        names = {"d": "DamagedError ", "u": "UnreadableError ", "": ""}
        everyone = [names[said[:1]] + said for said in attempts]

        def from_all(said: str) -> list[str]:
            assert said == everyone[own]
            return everyone

        monkeypatch.setattr(damage, "from_all", from_all)
        with pytest.raises((damage.DamagedError, damage.UnreadableError)) as caught:
            damage.agreed(process(attempts[own]))
        return str(caught.value)

    for own in range(3):
        assert told(("", "damaged", ""), own) == "damaged (process 1)"
        assert told(("damaged", "", "unreadable"), own) == "unreadable (process 2)"
