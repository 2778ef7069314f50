"""The single figures of a metrics.json."""

import pytest

from musicgen_jax.evaluation import figures
from musicgen_jax.evaluation.figures import Figure

METRICS = {
    "about": {"version": "1", "training_steps": {"vqvae": 3}},
    "split": "test",
    "absent": {"fad": "none"},
    "reconstruction": {
        "top": {
            "si_sdr_db": 4.0,
            "num_clips": 3,
            "intervals": {"si_sdr_db": {"mean": 4.0, "low": 3.0, "high": 5.0, "num_pieces": 2}},
            "tracks": [{"track": "a", "si_sdr_db": 3.0}, {"track": "b", "si_sdr_db": 5.0, "other": 1.0}],
        }
    },
    "prior": {"top": {"nats_per_code": 2.0, "bigram_nats": 3.0}, "bits_per_second": 100},
    "fad": {"value": 9.0, "embedding": "log-mel-statistics", "reliable": True, "floor": float("nan")},
    "score": {
        "note_f1": 0.7,
        "note_f1_low": 0.6,
        "note_f1_high": 0.8,
        "samples": [{"name": "000.wav", "note_f1": 0.7}],
        "tone": {"mean": 0.5, "low": None, "high": None, "num_pieces": 1},
        "nats_per_note": 2.0,
        "note_nats": {"intervals": {"nats_per_note": {"mean": 2.0, "low": 1.0, "high": 3.0}}, "tracks": []},
    },
    "structure": {
        "samples": {"num_clips": 2, "intervals": {"key_stability": {"mean": 0.5, "low": 0.25, "high": 0.75}}}
    },
}


def test_all_figures_are_found_and_nothing_else():
    assert figures.figures_of(METRICS) == {
        ("reconstruction", "top", "si_sdr_db"): Figure(4.0, 3.0, 5.0, {"a": 3.0, "b": 5.0}),
        ("reconstruction", "top", "num_clips"): Figure(3),
        ("prior", "top", "nats_per_code"): Figure(2.0),
        ("prior", "top", "bigram_nats"): Figure(3.0),
        ("prior", "bits_per_second"): Figure(100),
        ("fad", "log-mel-statistics", "value"): Figure(9.0),
        ("score", "note_f1"): Figure(0.7, 0.6, 0.8, {"000.wav": 0.7}),
        ("score", "tone"): Figure(0.5),
        ("score", "nats_per_note"): Figure(2.0, 1.0, 3.0),
        ("structure", "samples", "key_stability"): Figure(0.5, 0.25, 0.75),
        ("structure", "samples", "num_clips"): Figure(2),
    }
    assert figures.figures_of({}) == {}


def test_the_first_of_several_distances_counts_once():
    """Of which single clips have none: only their order means something."""
    one = {"value": 3.0, "embedding": "vggish", "tracks": [{"name": "000.wav", "value": 9.0}], "kernel": {"value": 0.5}}
    assert figures.figures_of({"fad": one, "distances": {"FAD": one, "FD-x": one | {"embedding": "x"}}}) == {
        ("distances", name, *keys): Figure(value)
        for name in ("FAD", "FD-x")
        for keys, value in ((("value",), 3.0), (("kernel", "value"), 0.5))
    }


@pytest.mark.parametrize(
    ("path", "better", "model"),
    [
        ("reconstruction.top.si_sdr_db", "higher", "vqvae"),
        ("reconstruction.top.num_clips", "", "vqvae"),
        ("codebook.top.perplexity", "higher", "vqvae"),
        ("prior.top.perplexity", "lower", "top"),
        ("prior.top.bigram_nats", "", "top"),
        ("prior.bits_per_second", "lower", ""),
        ("fad.log-mel-statistics.value", "lower", ""),
        ("fad.log-mel-statistics.floor", "", ""),
        ("score.nats_per_note", "lower", "composer"),
        ("score.bigram_nats_per_note", "", "composer"),
        ("score.note_f1_shuffled", "", ""),
        ("score.transcription.onset_f1", "higher", ""),
        ("distances.FD-musicnn.value", "lower", ""),
        ("distances.FD-musicnn.kernel.value", "lower", ""),
        ("distances.FD-musicnn.infinite.value", "lower", ""),
        ("distances.FD-musicnn.infinite.r_squared", "", ""),
        ("distances.FD-musicnn.kernel.bandwidth", "", ""),
        ("distances.FD-musicnn.kernel.floor", "", ""),
        ("samples.reconstruction.loudness_error_db", "lower", ""),
        ("structure.samples.key_stability", "", ""),
        ("score.statistics.held_out.polyphony", "", ""),
    ],
)
def test_which_direction_is_better(path, better, model):
    found = figures.meaning(tuple(path.split(".")))
    assert (found.better, found.model) == (better, model)
    assert found.main == (bool(better) or path == "structure.samples.key_stability")
