"""Vectors of captions beside code shards, and in the windows of a prior."""

import dataclasses
import hashlib
import json
import pathlib
import pickle
import shutil
from collections.abc import Sequence

import numpy as np
import pytest

from musicgen_jax import config
from musicgen_jax.codes import caption_vectors, code_dataset, code_shards
from musicgen_jax.data.captions import Caption
from musicgen_jax.runtime.errors import NotFoundError, UserError


@dataclasses.dataclass
class Encoder:
    """A vector a word, drawn by the word."""

    width: int = 6
    fingerprint: str = "0123456789abcdef"
    asked: int = 0

    def vector(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4])
        return np.random.default_rng(seed).standard_normal(self.width).astype(np.float32)

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        self.asked += len(texts)
        longest = max(len(text.split()) for text in texts)
        states, mask = np.full((len(texts), longest, self.width), 9, np.float32), np.zeros((len(texts), longest), bool)
        for row, text in enumerate(texts):
            for place, word in enumerate(text.split()):
                states[row, place], mask[row, place] = self.vector(word), True
        return states, mask


@pytest.fixture
def codes(tiny_codes, tmp_path) -> str:
    """Codes whose first tracks have captions, of text, of JSON, and of fields alone."""
    folder = shutil.copytree(tiny_codes, tmp_path / "codes")
    entries = code_shards.read_index(str(folder))
    captions = [
        Caption("text", "a calm piano"),
        Caption("json", "loud drums and more", {"genre": "rock", "bpm": "99"}),
        Caption("json", "", {"moods": "sad"}),
        Caption("text", "a calm piano"),
    ]
    train = [place for place, entry in enumerate(entries) if entry.split == "train"]
    for place, caption in zip(train, captions, strict=False):
        entries[place] = dataclasses.replace(entries[place], caption=caption)
    code_shards.write_index(pathlib.Path(folder), entries)
    return str(folder)


ASKED = config.PriorConfig(tier="top", context=64, text=True)


def test_each_text_is_encoded_once(codes):
    encoder = Encoder()
    assert caption_vectors.write(codes, encoder) == encoder.fingerprint
    texts = {text for entry in code_shards.read_index(codes) for text in entry.texts}
    assert encoder.asked == len(texts) and "a calm piano" in texts and any(text.startswith("genre: ") for text in texts)
    vectors = caption_vectors.Vectors(codes, encoder.fingerprint)
    assert vectors.width == 6 and vectors.longest == max(len(text.split()) for text in texts)
    for text in texts:
        found = vectors.of(text, 12)
        words = text.split()
        assert found["text_mask"].sum() == len(words) and found["text_mask"][: len(words)].all()
        expected = np.stack([encoder.vector(word) for word in words])
        np.testing.assert_allclose(found["text"][: len(words)], expected, rtol=1e-3)
        assert found["text"].dtype == np.float32 and not found["text"][len(words) :].any()
    assert not vectors.of("", 3)["text_mask"].any()
    caption_vectors.write(codes, encoder)
    assert encoder.asked == len(texts)  # they are there
    again = pickle.loads(pickle.dumps(vectors))
    np.testing.assert_array_equal(again.of("a calm piano", 4)["text"], vectors.of("a calm piano", 4)["text"])


def test_windows_are_told_the_caption(codes):
    encoder = Encoder()
    caption_vectors.write(codes, encoder)
    model = code_dataset.resolve(ASKED, codes)
    longest = caption_vectors.Vectors(codes, encoder.fingerprint).longest
    assert (model.text_encoder, model.text_width, model.text_tokens) == (encoder.fingerprint, 6, longest)
    windows = code_dataset.Windows(codes, "train", model)
    for track, entry in enumerate(windows.entries):
        found = windows.window(track, 0)
        assert found["text"].shape == (longest, 6) and found["text"].dtype == np.float32
        np.testing.assert_array_equal(found["text"], windows.vectors.of(entry.texts[0], longest)["text"])
        assert found["text_mask"].sum() == len(entry.texts[0].split())
    plain = code_dataset.Windows(codes, "train", dataclasses.replace(model, text=False)).window(0, 0)
    assert "text" not in plain and "text_mask" not in plain


def test_some_windows_are_told_more_or_something_else(codes):
    caption_vectors.write(codes, Encoder())
    windows = code_dataset.Windows(codes, "train", code_dataset.resolve(ASKED, codes))
    places = {len(entry.texts): track for track, entry in enumerate(windows.entries)}
    assert set(places) == {1, 3}

    def told(share: float) -> list[int]:
        """How many vectors of the text of three variants each of many windows is told."""
        random, rng = code_dataset.RandomWindow(windows, merged_captions=share), np.random.default_rng(0)
        windows.place = lambda slot, rng: (places[3], 0)
        return [int(random.random_map(0, rng)["text_mask"].sum()) for _ in range(200)]

    sizes = [len(text.split()) for text in windows.entries[places[3]].texts]
    assert set(told(0.0)) == {sizes[0]}
    found = told(0.5)
    assert {found.count(size) > 25 for size in sizes} == {True} and 70 < found.count(sizes[0]) < 130


def test_models_that_cannot_be_told_are_refused(codes, tmp_path):
    with pytest.raises(UserError, match=r"text_encoder: whose vectors of the captions\? Pass the folder"):
        code_dataset.resolve(ASKED, codes)
    caption_vectors.write(codes, Encoder())
    caption_vectors.write(codes, Encoder(fingerprint="other"))
    with pytest.raises(UserError, match=r"\(there are those of 0123456789abcdef, other\)\? Pass"):
        code_dataset.resolve(ASKED, codes)
    assert code_dataset.resolve(dataclasses.replace(ASKED, text_encoder="other"), codes).text_encoder == "other"
    with pytest.raises(NotFoundError, match=r"no vectors of captions in .*third: train with --text_encoder=DIR"):
        code_dataset.resolve(dataclasses.replace(ASKED, text_encoder="third"), codes)
    entries = [dataclasses.replace(one, caption=Caption(), labels={}) for one in code_shards.read_index(codes)]
    code_shards.write_index(pathlib.Path(codes), entries)
    with pytest.raises(UserError, match="has no captions of its training tracks, and no labels"):
        code_dataset.resolve(ASKED, codes)
    with pytest.raises(UserError, match="a composer is told no captions"):
        config.ComposerConfig(text=True).validate()


def test_damage_is_told(codes):
    encoder = Encoder()
    caption_vectors.write(codes, encoder)
    place = pathlib.Path(codes) / "captions" / encoder.fingerprint
    with pytest.raises(UserError, match=r"has no vectors of 'unheard of'"):
        caption_vectors.Vectors(codes, encoder.fingerprint).of("unheard of", 4)
    whole = (place / "vectors.bin").read_bytes()
    (place / "vectors.bin").write_bytes(whole[:-2])
    with pytest.raises(UserError, match="is damaged: remove that folder and train with --text_encoder=DIR"):
        caption_vectors.Vectors(codes, encoder.fingerprint)
    (place / "texts.json").write_text(json.dumps({"width": "six"}))
    with pytest.raises(UserError, match=r"texts\.json: width"):
        caption_vectors.Vectors(codes, encoder.fingerprint)
    caption_vectors.write(codes, encoder)  # mends it
    assert (place / "vectors.bin").read_bytes() == whole
