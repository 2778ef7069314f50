import numpy as np
import pytest

from musicgen_jax.sampling import journal as journal_lib

FACTS = {"request": {"seed": 0, "seconds": 1.5}, "models": {"top": "a"}}


def test_what_was_written_is_there_again(tmp_path):
    codes = np.arange(6, dtype=np.int32).reshape(2, 3)
    journal = journal_lib.Journal(tmp_path / "out", FACTS)
    assert journal.read("top-0") is None
    journal.write("top-0", codes)
    again = journal_lib.Journal(tmp_path / "out", FACTS)
    np.testing.assert_array_equal(again.read("top-0"), codes)
    journal_lib.remove(tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())
    journal_lib.remove(tmp_path / "out")  # nothing there


def test_a_process_that_dies_while_it_writes_leaves_nothing_in_place(tmp_path):
    def die(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal_lib.write_whole(tmp_path / "x.npy", die)
    assert not (tmp_path / "x.npy").exists()
    journal = journal_lib.Journal(tmp_path, FACTS)
    (tmp_path / "partial" / ".top-0.npy.writing").write_bytes(b"half")
    assert journal.read("top-0") is None
    journal.write("top-0", np.zeros(3))
    assert journal.read("top-0") is not None


def test_another_run_is_refused_and_told(tmp_path):
    journal_lib.Journal(tmp_path, FACTS)
    other = {"request": {"seed": 1, "seconds": 1.5}, "models": {"top": "b"}}
    with pytest.raises(ValueError, match=r"another run \(request.seed: 0, now 1; models.top: .a., now .b.\)"):
        journal_lib.Journal(tmp_path, other)
    with pytest.raises(ValueError, match=r"finish it, choose another --out, or remove .*partial to begin anew"):
        journal_lib.Journal(tmp_path, other)
    journal_lib.Journal(tmp_path, FACTS)


def test_differences():
    assert journal_lib.differences(FACTS, FACTS) == []
    assert journal_lib.differences({"a": 1}, {"b": None, "c": 2}) == ["c: null, now 2", "a: 1, now null"]
