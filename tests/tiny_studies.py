"""Small listening tests: two systems that spoil an original a little and a lot, and answers that are known."""

import pathlib
from typing import Any

import numpy as np
import soundfile

from musicgen_jax.listening import orders, preparation, study
from musicgen_jax.listening.study import Study

SAMPLE_RATE = 16000
NOISE = {"original": 0.0, "good": 0.01, "bad": 0.1}


def write_clips(
    root: pathlib.Path, items: int = 3, seconds: float = 1.2, sample_rate: int = SAMPLE_RATE, channels: int = 1
) -> dict[str, str]:
    """Writes the same tones with more and more noise into folders of `root`; {name: folder}."""
    rng = np.random.default_rng(0)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    for name, noise in NOISE.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for item in range(items):
            tone = 0.2 * np.sin(2 * np.pi * 220 * (1 + item) * time)[:, None] + np.zeros(channels)
            audio = (tone + noise * rng.standard_normal(tone.shape)) / (1 + item)
            soundfile.write(root / name / f"tune{item}.wav", audio, sample_rate)
    return {name: str(root / name) for name in NOISE}


def settings(folders: dict[str, str], design: str, /, **more: Any) -> preparation.Settings:
    """Of a study of `write_clips`'s systems; `mushra` has the original as its reference."""
    systems = {name: folders[name] for name in ("good", "bad")}
    reference = folders["original"] if design == "mushra" else ""
    return preparation.Settings(**{"design": design, "systems": systems, "reference": reference, "seed": 3} | more)


def right_answer(found: Study, page: orders.Page) -> dict[str, Any]:
    """What a listener of golden ears answers: 100 for the reference, 5 and 80 for the good system, 1 and 20 for the
    bad one and the anchors, the good one of two, X always right, beeps as the page asks."""
    if page.trial == orders.CONSENT:
        return {"agreed": True}
    for tone in found.headphones:
        if page.trial == tone.id:
            return {"choice": tone.quietest}
    trial = found.trial(page.trial)
    systems = {one.id: one.system for one in trial.stimuli}
    heard = [systems[id] for id in page.slots]
    if found.design == "abx":
        x = next(one.system for one in trial.given if one.id == page.given[0])
        return {"choice": heard.index(x)}
    if found.design == "ab":
        best = "good" if "good" in heard and trial.kind != study.ATTENTION else None
        return {"choice": heard.index(best) if best else 1 - heard.index(study.CHECK)}
    scale = {"mushra": {"reference": 100, "good": 80, study.CHECK: 0}, "mos": {"good": 5}}[found.design]
    return {"scores": [scale.get(name, {"mushra": 20, "mos": 1}[found.design]) for name in heard]}
