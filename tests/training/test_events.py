"""What TensorBoard is shown: read back by the format's description."""

import io

import event_files
import numpy as np
import PIL.Image
import pytest
import soundfile
import test_loop
import toy

from musicgen_jax import config
from musicgen_jax.audio import mel
from musicgen_jax.training import events, loop, metrics

TONE = 0.5 * np.sin(np.arange(4000) * 0.4).astype(np.float32)


def scalars(workdir):
    """[(step, {tag: value})], a line of metrics.jsonl each."""
    return [(step, dict(values)) for step, values in event_files.lines(workdir)]


def logged(workdir):
    """The same of metrics.jsonl."""
    return [(line.pop("step"), line) for line in metrics.read(workdir / "metrics.jsonl")]


def same(workdir):
    lines, shown = logged(workdir), scalars(workdir)
    assert [step for step, _ in shown] == [step for step, _ in lines]
    for (_, values), (_, expected) in zip(shown, lines, strict=True):
        assert values == {name: pytest.approx(value, rel=1e-6) for name, value in expected.items()}


def test_they_are_the_values_of_the_log(tmp_path):
    test_loop.run(tmp_path, log_every=1)
    same(tmp_path)
    (path,) = events.files_in(tmp_path)
    first, session, *_ = event_files.events(path)
    assert first.file_version == "brain.Event:2" and session.session_log.status == session.session_log.START


def test_a_run_that_is_resumed_has_each_value_once(tmp_path):
    """Killed at step 6, behind the checkpoint of step 3."""

    settings = toy.Run(training=config.TrainingConfig(num_steps=7, log_every=1, eval_every=2, checkpoint_every=3))
    with pytest.raises(RuntimeError):
        loop.train(toy.task(), settings, tmp_path, toy.mesh(), toy.dies_at(5), lambda: iter([toy.batch(98)]))
    assert [step for step, _ in scalars(tmp_path)] == [1, 2, 2, 3, 4, 4]
    (killed,) = events.files_in(tmp_path)
    with killed.open("ab") as file:
        file.write(b"\x10\x00\x00")  # what it was just writing
    test_loop.run(tmp_path, num_steps=7, log_every=1, eval_every=2)
    assert [step for step, _ in scalars(tmp_path)] == [1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 7]
    same(tmp_path)
    assert len(events.files_in(tmp_path)) == 2
    assert event_files.events(events.files_in(tmp_path)[1])[1].step == 4  # from where a reader forgets what it had


def test_a_run_that_is_done_writes_nothing(tmp_path):
    test_loop.run(tmp_path)
    before = {path: path.read_bytes() for path in events.files_in(tmp_path)}
    test_loop.run(tmp_path)
    assert {path: path.read_bytes() for path in events.files_in(tmp_path)} == before


def test_sounds_come_at_their_cadence(tmp_path):
    seen = []

    def sounds(now):
        seen.append(int(now.step))
        return {"clip/original": (TONE, 8000), "clip/top": (4 * TONE, 8000)}

    settings = toy.Run(
        training=config.TrainingConfig(num_steps=5, log_every=5, eval_every=0, checkpoint_every=5, sample_every=2)
    )
    loop.train(toy.task(), settings, tmp_path, toy.mesh(), toy.batches_from(), lambda: iter(()), sounds)
    assert seen == [2, 4]
    shown = {step: values for step, values in event_files.lines(tmp_path) if "/" in values[0][0]}
    tags = ["clip/original", "clip/original", "clip/top", "clip/top"]
    assert {step: [tag for tag, _ in values] for step, values in shown.items()} == {2: tags, 4: tags}
    sound, picture, louder, _ = (value for _, value in shown[4])
    heard, rate = soundfile.read(io.BytesIO(sound.encoded_audio_string))
    assert rate == 8000 and np.abs(heard - TONE).max() < 1e-4
    loud, _ = soundfile.read(io.BytesIO(louder.encoded_audio_string))
    assert np.abs(loud - np.clip(4 * TONE, -1, 1)).max() < 1e-4
    colours = np.asarray(PIL.Image.open(io.BytesIO(picture.encoded_image_string))).astype(int)
    row = (int(np.argmax(colours.sum(axis=(1, 2)))) + 0.5) / len(colours)
    assert 1 - row == pytest.approx(mel.height(0.4 / (2 * np.pi) * 8000, 4000), abs=0.02)


def test_what_cannot_be_written_ends_no_run(tmp_path, monkeypatch, capfd):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(events, "_new_file", full)
    assert int(test_loop.run(tmp_path, log_every=1).step) == 6
    assert capfd.readouterr().err.count("no more TensorBoard events of this run ([Errno 28] No space left") == 1
    assert len(logged(tmp_path)) == 8 and events.files_in(tmp_path) == []


def test_sounds_that_cannot_be_made_end_no_run(tmp_path, capfd):
    settings = toy.Run(training=config.TrainingConfig(num_steps=4, eval_every=0, checkpoint_every=4, sample_every=1))
    loop.train(toy.task(), settings, tmp_path, toy.mesh(), toy.batches_from(), lambda: iter(()), lambda now: 1 / 0)
    assert capfd.readouterr().err.count("no sounds of this run in TensorBoard's events (division by zero)") == 1


@pytest.mark.parametrize("place", [0, 8, 14])  # of a record: its length, the checksum of that, the event
def test_a_damaged_file_is_cut_where_it_is_damaged(tmp_path, place):
    writer = events.EventWriter(tmp_path, 0)
    for step in range(1, 5):
        writer.scalars(step, {"loss": float(step)})
    (path,) = events.files_in(tmp_path)
    *_, before, _, _ = (end for end, _ in events.read(path))
    whole = path.read_bytes()
    path.write_bytes(whole[: before + place] + b"\xff\xff" + whole[before + place + 2 :])
    events.EventWriter(tmp_path, 4)
    assert [step for step, _ in event_files.lines(tmp_path)] == [1, 2]


def test_the_reader_of_these_tests_sees_damage(tmp_path):
    events.EventWriter(tmp_path, 0).scalars(1, {"loss": 1.0})
    (path,) = events.files_in(tmp_path)
    whole = path.read_bytes()
    for place in (0, 9, 20, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises((ValueError, OSError)):
            event_files.events(path)


def test_values_that_are_no_numbers(tmp_path):
    events.EventWriter(tmp_path, 0).scalars(3, {"loss": float("inf"), "other": None})
    [(_, shown)] = scalars(tmp_path)
    assert np.isinf(shown["loss"]) and np.isnan(shown["other"])


def test_files_of_one_second_come_after_each_other(tmp_path):
    for step in range(3):
        events.EventWriter(tmp_path, step).scalars(step + 1, {"loss": 0.0})
    assert [step for step, _ in event_files.lines(tmp_path)] == [1, 2, 3]
    assert len(events.files_in(tmp_path)) == 3
