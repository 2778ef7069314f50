"""A cascade of published priors at reduced width, and what transformers' port samples with it, greedily.

    python tests/priors/jukebox_cascade.py

writes the golden file that `make test` compares with where torch and transformers are not installed.
"""

import dataclasses
import functools
import pathlib
import sys
import types
import unittest.mock

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[n]) for n in (0, 1, 2)]

import jukebox_models

GOLDEN_FILE = pathlib.Path(__file__).resolve().parents[1] / "golden" / "jukebox_cascade.npz"
KINDS = ("5b_lyrics", "1b_lyrics")
TIERS = ("top", "middle", "bottom")
HOP_LENGTHS = {"top": 128, "middle": 32, "bottom": 8}
HOP_FRACTIONS = {"top": 0.125, "middle": 0.5, "bottom": 0.5}
NUM_CODES = 11
NUM_TOP = 40  # codes of the top tier: two windows and a half of them
ARTIST = 3
GENRES = {"5b_lyrics": (2, 5), "1b_lyrics": (2,)}  # the 1b models take one
LYRICS = "Now is the winter of our discontent\nMade glorious summer by this sun of York; "


def models(kind: str) -> dict[str, jukebox_models.Model]:
    """{tier: model}, the top one of a kind; few layers, but of those with a look at the lyrics."""
    layers = {"5b_lyrics": 19, "1b_lyrics": 16}[kind]
    top = dataclasses.replace(
        jukebox_models.model_config(kind, layers), lyric_vocabulary={"5b_lyrics": 80, "1b_lyrics": 79}[kind]
    )
    uppers = {tier: jukebox_models.model_config(f"upsampler_{tier}", 3) for tier in TIERS[1:]}
    return {tier: jukebox_models.Model(model) for tier, model in ({"top": top} | uppers).items()}


def labels(model, genres: tuple[int, ...], characters: np.ndarray) -> np.ndarray:
    """The port's row of labels: three times that it fills in itself, artist, genres and all lyrics."""
    genres = (*genres, *(-1,) * model.max_genres)[: model.max_genres]
    lyrics = characters if model.lyrics != "none" else ()
    return np.array([[0, 0, 0, ARTIST, *genres, *lyrics]], np.int64)


def port_codes(kind: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What `JukeboxModel.ancestral_sample` samples with the most probable code at every step.

    Returns:
      {tier: (codes int64 [1, T], by how much the logit of each is above that of the next best code, float32 [1, T])}.
    """
    import test_jukebox_parity
    import torch
    from transformers.models.deprecated.jukebox import modeling_jukebox

    from musicgen_jax.priors import jukebox_labels

    class Cascade(modeling_jukebox.JukeboxModel):
        """The priors without a tokenizer, which codes do not need."""

        def __init__(self, priors):
            torch.nn.Module.__init__(self)
            self.priors = torch.nn.ModuleList(priors)
            self.config = types.SimpleNamespace(hop_fraction=list(HOP_FRACTIONS.values()), sampling_rate=1000)

    def own_stretch(prior, codes, start, end):
        """The port gives every window the beginning of the tier above; the original, the stretch above the window."""
        ratio = prior.cond_downsample
        return None if prior.level == 0 else [codes[prior.level - 1][:, start // ratio : end // ratio]]

    def codes_alone(logits, **options):
        """Where lyrics are a prefix the port may draw a character, which it then takes for code 0; this does not."""
        logits[..., : logits.shape[-1] - NUM_CODES] = -torch.inf
        best, next_best = torch.topk(logits.flatten(), 2).values.tolist()
        leads.append(best - next_best)
        return filter_logits(logits, **options)

    filter_logits = modeling_jukebox.filter_logits
    ours, leads = models(kind), []
    priors = []
    for model in ours.values():
        prior = test_jukebox_parity.their_prior(model)
        prior.sample = functools.partial(prior.sample, top_k=1)
        prior.get_music_tokens_conds = functools.partial(own_stretch, prior)
        priors.append(prior)
    characters = jukebox_labels.characters(LYRICS, ours["top"].config.lyric_vocabulary)
    rows = [torch.from_numpy(labels(model.config, GENRES[kind], characters)) for model in ours.values()]
    length = NUM_TOP * HOP_LENGTHS["top"]
    with unittest.mock.patch.object(modeling_jukebox, "filter_logits", codes_alone):
        found = Cascade(priors).ancestral_sample(rows, n_samples=1, sample_length=length, save_results=False)
    ends = np.cumsum([codes.shape[1] for codes in found])
    assert len(leads) == ends[-1]  # each code was drawn once, tier after tier
    parts = np.split(np.array(leads, np.float32), ends[:-1])
    return {tier: (codes.numpy(), lead[None]) for tier, codes, lead in zip(TIERS, found, parts, strict=True)}


def golden() -> dict[str, np.ndarray]:
    """What the golden file holds."""
    stored = {}
    for kind in KINDS:
        for tier, (codes, leads) in port_codes(kind).items():
            stored |= {f"{kind}/{tier}": codes.astype(np.int16), f"{kind}/{tier}/leads": leads}
    return stored


if __name__ == "__main__":
    np.savez_compressed(GOLDEN_FILE, **golden())
