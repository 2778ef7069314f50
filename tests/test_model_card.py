"""The card of a model: what it was trained on, under which licence, its figures."""

import json

import pytest
import tiny_priors

from musicgen_jax import config, kinds, model_card
from musicgen_jax.data import licences
from musicgen_jax.runtime.errors import UserError

NOTES = {"licence": "CC-BY-NC-SA-4.0", "attribution": "the players", "licence_url": "https://example.org/licence"}


@pytest.fixture
def workdir(tmp_path):
    """A prior of data that forbid commercial use, trained for twenty steps."""
    data = config.DataConfig(path="/run/codes", licence=licences.facts(NOTES, [""] * 3))
    run = config.PriorTraining(model=tiny_priors.model_config("middle"), data=data)
    config.write_json(tmp_path / "config.json", run)
    lines = [{"step": 10, "loss": 3.5}, {"step": 10, "eval/loss": 3.25}, {"step": 20, "eval/loss": 3.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_what_the_card_of_a_prior_says(workdir):
    assert config.read_json(workdir / "config.json", config.PriorTraining).data.licence["share_alike"] == [
        "CC-BY-NC-SA-4.0"
    ]
    model_card.write(workdir)
    card = (workdir / "model_card.md").read_text()
    assert card.startswith("# A prior\n") and "stream `middle`" in card and "data in `codes`" in card
    for line in ("CC-BY-NC-SA-4.0 forbids commercial use", "(3 tracks), https://example.org/licence", "the players"):
        assert line in card
    assert model_card.BINDS in card and "| eval/loss | 3 | 20 |" in card and "| loss" not in card
    # Of all that there is no word where nobody knows anything, and no other licence where the model has its own.
    values = json.loads((workdir / "config.json").read_text())
    values["data"]["licence"] = {}
    (workdir / "config.json").write_text(json.dumps(values))
    (workdir / "metrics.jsonl").unlink()
    model_card.write(workdir)
    card = (workdir / "model_card.md").read_text()
    assert model_card.UNKNOWN in card and model_card.BINDS not in card and "Figures" not in card
    model_card.write(workdir, "Nobody may use it.")
    card = (workdir / "model_card.md").read_text()
    assert "## Licence\n\nNobody may use it." in card and model_card.UNKNOWN not in card


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_of_model_has_a_card(tmp_path, kind):
    config.write_json(tmp_path / "config.json", kinds.KINDS[kind].config())
    model_card.write(tmp_path)
    assert model_card.UNKNOWN in (tmp_path / "model_card.md").read_text()


def test_a_folder_without_a_model_gets_no_card(tmp_path):
    model_card.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_licence_is_one_line(workdir):
    values = json.loads((workdir / "config.json").read_text())
    values["data"]["licence"] = "CC"
    (workdir / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"config\.json: data\.licence is 'CC' and must be an object"):
        model_card.write(workdir)


def test_the_licence_of_data(tiny_audio_dataset, tmp_path):
    assert model_card.of_data(tiny_audio_dataset) == {}
    (tmp_path / "metadata.json").write_text(json.dumps({"licence": {"tracks": {"CC0-1.0": 2}}}))
    assert model_card.of_data(str(tmp_path)) == {"tracks": {"CC0-1.0": 2}}
