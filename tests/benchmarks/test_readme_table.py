"""Rows of the README's table from metrics.json."""

import json

import pytest


def metrics(nats: float) -> dict:
    return {
        "reconstruction": {"top": {"spectral_convergence_db": -5.04, "si_sdr_db": 1.75}},
        "codebook": {"top": {"usage": 0.996}, "middle": {"usage": 0.5}},
        "prior": {
            "top": {"nats_per_code": nats, "bigram_nats": 6.2341, "unigram_nats": 6.65},
            "bits_per_second": 16651.2,
        },
        "fad": {"value": 260.4, "floor": 61.0, "num_frames": 60, "dimensions": 128, "reliable": False},
    }


def test_a_row_a_tier_and_a_sentence_a_report(benchmark, tmp_path):
    for name, nats in (("one", 4.576), ("two", 3.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics(nats)))
    done = benchmark("readme_table", f"--report=chorales:{tmp_path}/one", f"--report=mine:{tmp_path}/two")
    assert done.returncode == 0, done.stderr
    head, line, *rows, blank, first, _ = done.stdout.splitlines()
    assert head.count("|") == line.count("|") == 9 and len(rows) == 4 and blank == ""
    assert rows[0] == "| chorales | top | -5.0 | 1.8 | 100% | 4.58 | 6.23 | 6.65 |"
    assert rows[1] == "| chorales | middle | - | - | 50% | - | - | - |"
    assert rows[2].startswith("| mine | top | -5.0 | 1.8 | 100% | 3.00 |")
    assert first == (
        "chorales: 16,651 bits per second of audio; Fréchet distance 260, as many real frames 61 "
        "(60 frames, too few for its 128 dimensions)."
    )


def test_scores_have_a_sentence_of_their_own(benchmark, tmp_path):
    score = {"nats_per_note": 2.251, "bigram_nats_per_note": 4.0, "note_f1": 0.712, "note_f1_lowest": 0.5}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics(3.0) | {"score": score}))
    last = benchmark("readme_table", f"--report=chorales:{tmp_path}").stdout.splitlines()[-1]
    assert last == (
        "Composer: 2.25 nats a note, a bigram model 4.00. Note F1 of samples against their scores: 0.71 (- to -, the "
        "worst 0.50); of held-out recordings -, of shuffled scores -."
    )


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--report=demo", "write NAME:FOLDER"), ("--report=demo:nowhere", "pass the --out of evaluate")],
)
def test_a_bad_flag_is_one_line(benchmark, flag, message):
    done = benchmark("readme_table", flag)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr
