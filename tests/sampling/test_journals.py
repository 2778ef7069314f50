import numpy as np
import pytest

from musicgen_jax.sampling import journals

FACTS = {"request": {"seed": 0, "seconds": 1.5}, "models": {"top": "a"}}


def test_what_was_written_is_there_again(tmp_path):
    codes = np.arange(6, dtype=np.int32).reshape(2, 3)
    journal = journals.Journal(tmp_path / "out", FACTS)
    assert journal.read("top-0") is None
    journal.write("top-0", codes)
    again = journals.Journal(tmp_path / "out", FACTS)
    np.testing.assert_array_equal(again.read("top-0"), codes)
    journals.remove(tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())
    journals.remove(tmp_path / "out")  # nothing there


def test_a_process_that_dies_while_it_writes_leaves_nothing_in_place(tmp_path):
    journal = journals.Journal(tmp_path, FACTS)
    (tmp_path / ".musicgen_jax.partial" / ".top-0.npz.abc").write_bytes(b"half")
    assert journal.read("top-0") is None
    journal.write("top-0", np.zeros(3))
    assert journal.read("top-0") is not None


def test_a_damaged_window_counts_as_none(tmp_path):
    journal = journals.Journal(tmp_path, FACTS)
    journal.write("top-0", np.arange(64, dtype=np.int32))
    path = journal.folder / "top-0.npz"
    whole = path.read_bytes()
    place = whole.index(np.arange(64, dtype=np.int32).tobytes()) + 9
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert journal.read("top-0") is None


def test_another_run_is_refused_and_told(tmp_path):
    journals.Journal(tmp_path, FACTS)
    other = {"request": {"seed": 1, "seconds": 1.5}, "models": {"top": "b"}}
    with pytest.raises(ValueError, match=r"another run \(request.seed: 0, now 1; models.top: .a., now .b.\)"):
        journals.Journal(tmp_path, other)
    with pytest.raises(ValueError, match=r"choose another out, or remove .*\.musicgen_jax\.partial to begin anew"):
        journals.Journal(tmp_path, other)
    journals.Journal(tmp_path, FACTS)


def test_differences():
    assert journals.differences(FACTS, FACTS) == []
    assert journals.differences({"a": 1}, {"b": None, "c": 2}) == ["c: null, now 2", "a: 1, now null"]
