"""VGGish: its front end beside formulas, its network beside torch's, its file beside wrong ones."""

import numpy as np
import pytest
import safetensors.numpy

from musicgen_jax.conversion import weight_table
from musicgen_jax.evaluation.embeddings import vggish

RATE = 16_000


def test_one_patch_each_096_seconds():
    shortest = round(vggish.VGGish.window_seconds * RATE)
    assert shortest == 15_600
    assert [len(vggish.log_mel(np.zeros(n, np.float32))) for n in (shortest - 1, shortest, shortest + 160)] == [
        95,
        96,
        97,
    ]


def test_front_end_is_the_published_one():
    """Band by band with loops, as the definition has it."""
    noise = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    found = vggish.log_mel(noise)
    hann = [0.5 - 0.5 * np.cos(2 * np.pi * n / 400) for n in range(400)]
    edges = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    for frame in (0, 3):
        spectrum = np.abs(np.fft.rfft(noise[160 * frame : 160 * frame + 400].astype(float) * hann, 512))
        for band in (0, 5, 63):
            low, centre, high = edges[band : band + 3]
            total = 0.0
            for k in range(1, 257):
                mel = 1127 * np.log(1 + k * 16000 / 512 / 700)
                total += spectrum[k] * max(0, min((mel - low) / (centre - low), (high - mel) / (high - centre)))
            assert found[frame, band] == pytest.approx(np.log(total + 0.01), abs=1e-5)
    assert len(found) == 1 + (1000 - 400) // 160


def test_silence_is_the_logarithm_of_the_offset():
    np.testing.assert_allclose(vggish.log_mel(np.zeros(400, np.float32)), np.log(0.01), rtol=1e-6)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"features.0.weight": np.zeros((64, 1, 3, 3), np.float32)}, "is not VGGish's: .*17 differences.*missing"),
        ({"x": np.zeros(3, np.float32)}, "unexpected x"),
    ],
)
def test_another_file_is_refused(tensors, message, tmp_path):
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=message):
        vggish.VGGish(tmp_path / "x.safetensors")


@pytest.mark.parity
def test_equals_torch_with_the_same_random_weights(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers, width = [], 1
    for size in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M"):
        if size == "M":
            layers.append(torch.nn.MaxPool2d(2, 2))
        else:
            layers += [torch.nn.Conv2d(width, size, 3, padding=1), torch.nn.ReLU()]
            width = size
    network = torch.nn.Module()
    network.features = torch.nn.Sequential(*layers)
    network.embeddings = torch.nn.Sequential(
        torch.nn.Linear(512 * 4 * 6, 4096),
        torch.nn.ReLU(),
        torch.nn.Linear(4096, 4096),
        torch.nn.ReLU(),
        torch.nn.Linear(4096, 128),
    )
    state = network.state_dict() | {"pproc.pca_means": torch.zeros(128, 1)}
    assert {weight.name for weight in vggish.TABLE} == set(network.state_dict())
    torch.save(state, tmp_path / "vggish.pth", _use_new_zipfile_serialization=False)  # as the published file is
    embedding = vggish.VGGish(tmp_path / "vggish.pth")
    audio = np.random.default_rng(0).standard_normal(RATE * 2).astype(np.float32) * 0.1
    frames = embedding.embed(audio, RATE)
    assert frames.shape == (2, 128) and embedding.distance == "FAD"
    patches = torch.from_numpy(vggish.log_mel(audio)[:192].reshape(2, 1, 96, 64))
    with torch.no_grad():
        maps = network.features(patches).permute(0, 2, 3, 1).reshape(2, -1)  # the published weights are of TensorFlow
        want = network.embeddings(maps).numpy()
    np.testing.assert_allclose(frames, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())
    assert weight_table.leaf(embedding._weights, ("features", 0, "kernel")).shape == (3, 3, 1, 64)
