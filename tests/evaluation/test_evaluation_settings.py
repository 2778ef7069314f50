import pytest

from musicgen_jax.evaluation import evaluation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_seconds": 0.0}, r"max_seconds=0\.0: must be greater than 0"),
        ({"max_seconds": -1.0}, "max_seconds=-1"),
        ({"max_seconds": float("nan")}, "max_seconds=nan"),
        ({"max_seconds": float("inf")}, "max_seconds=inf: .*finite"),
        ({"max_codes": -1}, "max_codes=-1: must be at least 1, or 0 for all"),
        ({"references": "folder"}, "references=folder: .*pass samples too"),
    ],
)
def test_settings_out_of_range(tmp_path, changes, message):
    settings = evaluation.Settings("data", "", **changes)
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(None, {}, settings, {}, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
