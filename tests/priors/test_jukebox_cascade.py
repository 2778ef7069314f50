"""The published cascade, window by window, against what transformers' port samples."""

import jukebox_cascade
import numpy as np
import pytest

from musicgen_jax.codes.layout import Layout, Stream
from musicgen_jax.priors import jukebox_labels, published
from musicgen_jax.sampling import hierarchy, requests, sampler_settings

LAYOUT = Layout(
    sample_rate=1000,
    channels=1,
    streams=tuple(
        Stream(tier, hop, num_codebooks=1, num_codes=11, above=above)
        for (tier, hop), above in zip(jukebox_cascade.HOP_LENGTHS.items(), ("", "top", "middle"), strict=True)
    ),
    fingerprint="f00d",
)
SECONDS = jukebox_cascade.NUM_TOP * jukebox_cascade.HOP_LENGTHS["top"] / LAYOUT.sample_rate


def priors(kind: str) -> dict[str, published.PublishedPrior]:
    found = {}
    for tier, model in jukebox_cascade.models(kind).items():
        sizes = {"artist": model.config.num_artists, "genre": model.config.num_genres}
        names = jukebox_labels.Names({}, sizes, many=model.config.max_genres > 1)
        found[tier] = published.PublishedPrior(model.config, model.functional, (model.params, {}), "", names=names)
    return found


def request(kind: str, **changes) -> requests.Request:
    genres = " ".join(map(str, jukebox_cascade.GENRES[kind]))
    settings = sampler_settings.SamplingSettings(top_k=1, top_p=1.0)
    fields = {
        "seconds": SECONDS,
        "total_seconds": SECONDS,
        "settings": settings,
        "genres": (genres,),
        "artist": str(jukebox_cascade.ARTIST),
        "lyrics": jukebox_cascade.LYRICS,
        "hop_fraction": jukebox_cascade.HOP_FRACTIONS,
    }
    return requests.Request(**fields | changes)


@pytest.mark.long
@pytest.mark.parametrize("kind", jukebox_cascade.KINDS)
def test_codes_are_those_of_the_port(kind):
    models, asked = priors(kind), request(kind)
    asked.validate(LAYOUT, models)
    codes = hierarchy.sample_codes(LAYOUT, models, asked)
    stored = np.load(jukebox_cascade.GOLDEN_FILE)
    for tier, found in codes.items():
        assert stored[f"{kind}/{tier}/leads"].min() > 1e-3  # no choice hangs on how float32 is rounded
        np.testing.assert_array_equal(found[..., 0], stored[f"{kind}/{tier}"], err_msg=tier)
        assert len(np.unique(found)) > 1
