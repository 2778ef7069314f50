"""The judgement of a composer by itself, without a tokenizer -> metrics.json and report.html."""

from collections.abc import Mapping
from typing import Any

from musicgen_jax.codes import score_reader
from musicgen_jax.evaluation import composer_likelihood, evaluation, inputs, samples, score_quality
from musicgen_jax.priors import trained

PLAYED = "the synthesizer plays composed scores note for note: there is nothing to find out"


def evaluate_composer(
    composer: trained.TrainedPrior,
    settings: evaluation.Settings,
    workdirs: Mapping[str, str],
    out: str,
    steps: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Writes metrics.json and report.html to the folder `out` and returns the metrics.

    Args:
      composer: the model of scores.
      settings: `data` with scores, and `samples`, a folder that the composer wrote, or "".
      workdirs: name -> training workdir, for the loss curves.
      out: the folder.
      steps: name -> training steps of that model, where they are known.

    Raises:
      NotFoundError: a folder is not there, or holds something else.
      UserError: a setting out of range, no held-out split, no scores in it; samples of audio.
    """
    settings.validate()
    split = inputs.held_out_split(settings.data)
    pieces = composer_likelihood.open_pieces(composer.config, settings.data, split)
    composed = samples.read_composed(settings.samples) if settings.samples else []
    curves, folder = inputs.read_curves(workdirs), inputs.check_out(out)
    figures: dict[str, Any] = {}
    if composed:
        seconds = max(sample.sound.seconds for sample in composed)
        held_out = [piece.score for piece in score_reader.read(settings.data, split)]
        figures["statistics"] = score_quality.compare([one.score for one in composed], held_out, seconds)
    figures |= composer_likelihood.evaluate_composer(composer, pieces)
    # Without a tokenizer nothing is reconstructed; what reads metrics.json finds its keys all the same.
    metrics = {"about": evaluation.about(steps or {}), "split": split, "reconstruction": {}, "codebook": {}}
    metrics |= {"score": figures, "absent": {"score.note_f1": PLAYED} if composed else {}}
    evaluation.write(folder, metrics, settings, workdirs, [], composed, curves)
    return metrics
