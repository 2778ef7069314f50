"""A folder of converted checkpoints makes music like any other."""

import json

import numpy as np
import published_files
import pytest

from musicgen_jax import config, generation
from musicgen_jax.conversion import checkpoint_files, hugging_face_names, jukebox, jukebox_vqvae

pytest.importorskip("safetensors")
SMALL = {"width": 4, "depth": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """A converted file of all models at reduced width, with names of artists and genres beside it."""
    path = tmp_path_factory.mktemp("published")
    run = jukebox_vqvae.released()
    run.model = config.VQVAEConfig(
        top=config.TierConfig(downsampling=(3, 2, 2), **SMALL),
        middle=config.TierConfig(downsampling=(3, 2), **SMALL),
        bottom=config.TierConfig(downsampling=(3,), width=8, depth=2),
        quantizer=config.QuantizerConfig(num_codes=16, code_width=4),
    )
    priors = {"top": published_files.tiny_prior()}
    priors |= {tier: published_files.tiny_upsampler(tier) for tier in ("middle", "bottom")}
    parts = {"vqvae.": published_files.vqvae_tensors(run.model)}
    parts |= {f"priors.{n}.": published_files.prior_tensors(model) for n, model in enumerate(priors.values())}
    tensors = {
        prefix + hugging_face_names.hugging_face_name(name): array
        for prefix, part in parts.items()
        for name, array in part.items()
    }
    checkpoint_files.write(path / "model.safetensors", tensors)
    (path / "artists.json").write_text(json.dumps({"alan_jackson.v2": 3}))
    (path / "genres.json").write_text(json.dumps({"country.v2": 1, "rock.v2": 2}))
    jukebox.import_checkpoint(path / "model.safetensors", path / "out", configs={"vqvae": run} | priors)
    return str(path / "out")


@pytest.fixture(scope="module")
def generator(folder):
    return generation.load(folder)


def test_words_and_numbers_are_the_same_labels(generator):
    asked = {"seconds": 0.05, "seed": 3, "total_seconds": 100.0}
    named = generator.generate(genre="Country Rock", artist="Alan Jackson", **asked)
    assert len(named) == 18 * 128 and np.isfinite(named).all()
    np.testing.assert_array_equal(generator.generate(genre="1 2", artist="3", **asked), named)
    assert np.any(generator.generate(**asked) != named)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_seconds": 20.0}, "total_seconds=20: the published top prior is told lengths from 60 to 600 seconds"),
        ({"artist": "Alan Jakson"}, "did you mean alan_jackson"),
        ({"lyrics": "la la la"}, "none of the priors that are sampled hears lyrics"),
        ({"guidance": 2.0}, "guidance"),
        ({"cache_dtype": "int8"}, "cache_dtype=int8: the published priors"),
    ],
)
def test_what_published_priors_cannot_do_is_said(generator, options, message):
    with pytest.raises(ValueError, match=message):
        generator.generate(seconds=0.05, **options)
