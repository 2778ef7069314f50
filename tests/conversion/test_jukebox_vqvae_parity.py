"""The VQ-VAE at full published size, through a file, against Hugging Face's Jukebox on a real recording."""

import pathlib

import jax
import jukebox_oracle
import numpy as np
import published_files
import pytest
import soundfile
from tiny_layouts import TIERS

from musicgen_jax import pretrained
from musicgen_jax.conversion import jukebox, jukebox_vqvae

RECORDINGS = pathlib.Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "recordings"
SAMPLES = 44_032  # one second, a whole number of top hops
DISTINCT_CODES = {"top": 300, "middle": 1000, "bottom": 1800}

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def audio():
    path = RECORDINGS / "brahms_hungarian_dance_5.ogg"
    if not path.is_file():
        pytest.skip(f"no recording at {path}")
    samples, sample_rate = soundfile.read(path, start=5 * 44_100, frames=SAMPLES, dtype="float32", always_2d=True)
    assert sample_rate == 44_100 and samples.std() > 0.01
    return np.ascontiguousarray(samples.mean(axis=1))


@pytest.fixture(scope="module")
def oracle(audio):
    """Torch's own initial weights, from a seed, and a codebook of the recording's latents.

    Kernels are enlarged and biases reduced, or else the biases would drown the recording.
    """
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    oracle = jukebox_oracle.build(jukebox_vqvae.released().model, {})
    with torch.no_grad():
        for name, parameter in oracle.named_parameters():
            parameter.mul_(1.3 if name.endswith("weight") else 0.3)
    jukebox_oracle.fill_codebooks(oracle, audio)
    return oracle


@pytest.fixture(scope="module")
def ours(oracle, tmp_path_factory):
    """The same model through a safetensors file and a native workdir: (config, parameters, buffers)."""
    safetensors = pytest.importorskip("safetensors.torch")
    folder = tmp_path_factory.mktemp("jukebox")
    safetensors.save_file(oracle.state_dict(), folder / "vqvae.safetensors")
    jukebox.import_checkpoint(folder / "vqvae.safetensors", folder / "native")
    return pretrained.load_vqvae_weights(str(folder / "native"))


def test_codes_are_identical_and_audio_is_within_1e_5(oracle, ours, audio):
    run, *tree = ours
    assert run == jukebox_vqvae.released()
    functional = published_files.vqvae_functional(run.model)
    encode = jax.jit(lambda tree, audio: functional.bind(*tree).encode(audio))
    decode = jax.jit(lambda tree, codes: functional.bind(*tree).decode(codes))
    expected = jukebox_oracle.run(oracle, audio)
    codes = encode(tree, audio[None])
    decoded = decode(tree, {tier: expected[tier]["codes"][None, :, None].astype(np.int32) for tier in TIERS})
    for tier in TIERS:
        np.testing.assert_array_equal(codes[tier][0, :, 0], expected[tier]["codes"])
        assert len(np.unique(codes[tier])) > DISTINCT_CODES[tier]
        np.testing.assert_allclose(decoded[tier][0], expected[tier]["audio"], atol=1e-5)
        assert np.std(expected[tier]["audio"]) > 0.01


def test_the_golden_file_is_what_the_oracle_says():
    pytest.importorskip("transformers")
    fresh = jukebox_oracle.golden()
    with np.load(jukebox_oracle.GOLDEN) as file:
        assert set(file) == set(fresh)
        for name, array in fresh.items():
            np.testing.assert_allclose(file[name], array, atol=1e-6, err_msg=name)
