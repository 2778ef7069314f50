"""Music from a converted MusicGen: texts, continuation, windows, melodies, two channels, streaming, int8."""

import dataclasses
import json

import command_line
import numpy as np
import pytest
import tiny_musicgen_files

from musicgen_jax import generation, pretrained
from musicgen_jax.codes import caption_vectors
from musicgen_jax.conversion import musicgen
from musicgen_jax.data import audio_io
from musicgen_jax.evaluation import prior_likelihood
from musicgen_jax.runtime.errors import NotFoundError, UserError
from musicgen_jax.tokenizers import extraction

pytest.importorskip("safetensors")
pytest.importorskip("sentencepiece")
WINDOW_SECONDS = 0.01
TEXTS = ("calm piano", "loud drums and a sad flute")
MODELS = {
    "mono": tiny_musicgen_files.model_config(),
    "stereo": tiny_musicgen_files.stereo(),
    "melody": tiny_musicgen_files.model_config(melody=True, chroma_frames=4),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folders of converted models, made when they are asked for."""
    made = {}

    def folder(name: str):
        if name not in made:
            root = tmp_path_factory.mktemp(f"musicgen_{name}")
            published = tiny_musicgen_files.write(root / "published", MODELS[name])
            musicgen.import_checkpoint(published, root / "native", WINDOW_SECONDS)
            made[name] = root / "native"
        return made[name]

    return folder


@pytest.mark.long
def test_texts_a_batch(folders):
    generator = generation.load(folders("mono"))
    seconds = 0.009
    audio = generator.generate(text=list(TEXTS), seconds=seconds, seed=3)
    assert audio.shape == (2, round(seconds * generator.sample_rate)) and np.isfinite(audio).all()
    alone = generator.generate(text=TEXTS[0], seconds=seconds, seed=3)
    np.testing.assert_array_equal(alone, audio[0])
    untold, other = (generator.generate(text=text, seconds=seconds, seed=3) for text in ("", TEXTS[1]))
    assert (untold != alone).any() and (other != alone).any()
    request, _, _ = generator.request(text=TEXTS)
    settings = [request.settings.of(name, "codes") for name in ("guidance", "top_k", "top_p")]
    assert settings == [3.0, 250, 1.0] and request.guide_by == ("text",) and request.hop_fraction_of("codes") == 0.6
    assert generator.request()[0].settings.of("guidance", "codes") == 1.0
    assert generator.request(text=TEXTS, top_k=5, guidance=1.0)[0].settings.of("top_k", "codes") == 5


@pytest.mark.long
def test_beyond_a_window_from_a_recording_and_in_blocks(folders):
    generator = generation.load(folders("mono"))
    prompt = np.sin(np.arange(60) / 5).astype(np.float32)
    said = {"text": TEXTS[0], "prompt": prompt, "seconds": 2.5 * WINDOW_SECONDS, "top_k": 8}
    whole = generator.generate(**said)
    assert len(whole) >= round(2.5 * WINDOW_SECONDS * generator.sample_rate) > len(prompt)
    np.testing.assert_allclose(np.concatenate(list(generator.stream(**said))), whole, atol=1e-5)


@pytest.mark.long
def test_two_channels(folders, tmp_path):
    generator = generation.load(folders("stereo"))
    audio = generator.generate(text=TEXTS[0], seconds=0.006)
    assert audio.shape == (round(0.006 * generator.sample_rate), 2) and (audio[:, 0] != audio[:, 1]).any()
    generator.write(tmp_path / "out", 0.006, text=TEXTS[0])
    with audio_io.open_audio(tmp_path / "out" / "000.wav") as file:
        assert np.concatenate(list(file.blocks())).shape == audio.shape
    np.testing.assert_array_equal(np.concatenate(list(generator.stream(0.006, text=TEXTS[0]))), audio)


@pytest.mark.long
def test_codes_of_one_channel_without_a_melody_are_judged(folders, tiny_audio_dataset, tmp_path):
    codes = str(tmp_path / "codes")
    for name in ("stereo", "melody"):  # whose codecs and text encoders are the same
        model = folders(name)
        if name == "stereo":
            tokenizer = pretrained.load_vqvae(str(model / "vqvae"))
            extraction.extract(tokenizer, tiny_audio_dataset, codes, window_seconds=2.0)
            caption_vectors.write(codes, pretrained.load_text_encoder(str(model / "text_encoder")))
        prior = dataclasses.replace(pretrained.load_prior(str(model / "codes")), codes_path=codes)
        found, failed = prior_likelihood.evaluate_priors({"codes": prior}, "validation", 600)
        assert not failed and np.isfinite(found["codes"]["nats_per_code"])


@pytest.mark.long
def test_melodies(folders):
    generator = generation.load(folders("melody"))
    times = np.arange(20_000) / generator.sample_rate
    low, high = (np.sin(2 * np.pi * frequency * times).astype(np.float32) for frequency in (440, 660))
    found = [generator.generate(melody=one, text=TEXTS[0], seconds=0.009) for one in (low, low, high, None)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any() and (found[0] != found[3]).any()
    with pytest.raises(UserError, match="melody: must be one piece of music"):
        generator.generate(melody=np.zeros((3, 50_000), np.float32))


@pytest.mark.long
def test_by_the_command_line(folders, tmp_path):
    model, out = folders("mono"), tmp_path / "out"
    run = ("musicgen_jax.sample", f"--model={model}", f"--out={out}", "--seconds=0.006")
    texts = [f"--text={text}, softly" for text in TEXTS]
    done = command_line.run(*run, *texts)
    assert done.returncode == 0, done.stderr
    info = json.loads((out / "samples.json").read_text())
    assert [one["text"] for one in info["samples"]] == [f"{text}, softly" for text in TEXTS]
    done = command_line.run(*run, *texts)
    assert "complete already" in done.stdout
    done = command_line.run(*run, "--text=something else")
    assert done.returncode != 0 and "another run" in done.stderr and "request.texts" in done.stderr
    smaller = tmp_path / "int8"
    done = command_line.run(
        "musicgen_jax.compress", "--method=int8", f"--prior={model / 'codes'}", f"--out={smaller / 'codes'}"
    )
    assert done.returncode == 0, done.stderr
    run = ("musicgen_jax.sample", f"--model={model}", f"--prior=codes:{smaller / 'codes'}", "--cache_dtype=int8")
    done = command_line.run(*run, f"--out={tmp_path / 'small'}", "--seconds=0.006", *texts)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_said(folders):
    generator = generation.load(folders("mono"))
    with pytest.raises(UserError, match="melody: none of the priors that are sampled follows a melody"):
        generator.generate(melody=np.ones(50_000, np.float32))
    generator.text_encoder = ""
    with pytest.raises(NotFoundError, match="text: there is no text encoder"):
        generator.generate(text="piano")
