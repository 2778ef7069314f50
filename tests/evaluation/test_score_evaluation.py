"""A composer by itself: nats of a note, figures of what it composed beside held-out scores, and what is refused."""

import json
import pathlib

import command_line
import pytest
import tiny_scores
import tiny_workdirs

from musicgen_jax import config
from musicgen_jax.codes import score_dataset
from musicgen_jax.evaluation import evaluation, score_evaluation
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import requests, score_output


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_scores.prepare(tmp_path_factory.mktemp("scores") / "data")


@pytest.fixture(scope="module")
def composer(data):
    return tiny_scores.composer_of(score_dataset.resolve(tiny_scores.model_config(), data), tiny_scores.nothing)


@pytest.fixture(scope="module")
def composed(composer, tmp_path_factory):
    out = tmp_path_factory.mktemp("composed")
    score_output.compose_to_folder(composer, requests.Request(seconds=2.0, num_samples=2), str(out), "runs/score")
    return out


def test_metrics_and_page_of_composed_scores(composer, data, composed, tmp_path):
    settings = evaluation.Settings(data, str(composed))
    metrics = score_evaluation.evaluate_composer(composer, settings, {}, str(tmp_path), {"composer": 7})
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["score"]["nats_per_note"] > 0 and metrics["about"]["training_steps"] == {"composer": 7}
    statistics = metrics["score"]["statistics"]
    assert statistics["samples"]["polyphony"]["num_pieces"] == 2
    assert statistics["held_out"]["polyphony"]["mean"] == pytest.approx(4, abs=0.2)
    assert "note for note" in metrics["absent"]["score.note_f1"]
    page = (tmp_path / "report.html").read_text()
    assert "nats a note" in page and "held-out scores" in page


def test_what_cannot_be_judged_so_is_refused(composer, data, composed, tiny_audio_dataset, tmp_path):
    info = json.loads((composed / "samples.json").read_text()) | {"decoded_tier": "top"}
    folder = tmp_path / "samples"
    folder.mkdir()
    for name in ("000.wav", "001.wav"):
        (folder / name).write_bytes((composed / name).read_bytes())
    (folder / "samples.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="are no composed scores: pass vqvae"):
        score_evaluation.evaluate_composer(composer, evaluation.Settings(data, str(folder)), {}, str(tmp_path / "a"))
    with pytest.raises(UserError, match="has no scores"):
        settings = evaluation.Settings(tiny_audio_dataset, "")
        score_evaluation.evaluate_composer(composer, settings, {}, str(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


@pytest.mark.long
def test_the_command_needs_no_tokenizer(composer, data, tmp_path):
    run = config.ComposerTraining(model=composer.config, data=config.DataConfig(path=data))
    tiny_workdirs.write_workdir(tmp_path / "score", run, composer.weights)
    flags = [f"--score={tmp_path / 'score'}", f"--data={data}", f"--out={tmp_path / 'report'}"]
    for _ in range(2):  # its own folder is written again
        done = command_line.run("musicgen_jax.evaluate", *flags)
        assert done.returncode == 0, done.stderr
    assert "nats per note, bigram model" in done.stdout
    assert pathlib.Path(done.stdout.splitlines()[-1]) == tmp_path / "report" / "report.html"
    failed = command_line.run("musicgen_jax.evaluate", *flags, "--codes=codes")
    assert failed.returncode == 1
    assert "error: --codes: a composer alone is judged without it: leave it out" in failed.stderr
