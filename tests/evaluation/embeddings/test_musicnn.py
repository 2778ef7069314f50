"""musicnn's networks beside a forward pass in NumPy that knows nothing of ours, with random and with real weights."""

import pathlib

import librosa
import numpy as np
import pytest
import soundfile
import tf_checkpoint

from musicgen_jax.evaluation.embeddings import musicnn, musicnn_networks, tensor_bundle

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
RECORDINGS = REPOSITORY / ".." / "shared" / "data" / "recordings"
RATE = 16_000


def random_weights(shapes, rng) -> dict[str, np.ndarray]:
    """As large as they must be for signals to keep their size; normalizations that do something, of either sign."""
    found = {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape)
        if name.endswith("kernel"):
            values *= np.sqrt(2 / np.prod(shape[:-1]))
        elif name.endswith("variance"):
            values = 0.5 + np.abs(values)
        found[name] = values.astype(np.float32)
    return found


def normalized(w, number, x):
    name = "batch_normalization" + (f"_{number}" if number else "")
    scaled = (x - w[f"{name}/moving_mean"]) / np.sqrt(w[f"{name}/moving_variance"] + np.float32(1e-3))
    return scaled * w[f"{name}/gamma"] + w[f"{name}/beta"]


def convolved(x, kernel, bias):
    """x [T, F, C] and kernel [A, B, C, C'], no padding: [T - A + 1, F - B + 1, C'], behind a ReLU."""
    taps = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))  # [T', F', C, A, B]
    flat = taps.transpose(0, 1, 3, 4, 2).reshape(*taps.shape[:2], -1)
    return np.maximum(flat @ kernel.reshape(-1, kernel.shape[-1]) + bias, 0)


def numpy_musicnn(w, patch):
    layer = lambda name, x: convolved(x, w[f"{name}/kernel"], w[f"{name}/bias"])  # noqa: E731
    x = normalized(w, 0, patch[..., None])
    features = []
    for number, name in enumerate(["conv2d", "conv2d_1"], 1):
        padded = np.pad(x, ((3, 3), (0, 0), (0, 0)))
        features.append(normalized(w, number, layer(name, padded)).max(axis=1))
    for number, (name, taps) in enumerate([("conv2d_2", 128), ("conv2d_3", 64), ("conv2d_4", 32)], 3):
        before = (taps - 1) // 2  # TensorFlow's "same" puts the odd one behind
        padded = np.pad(x, ((before, taps - 1 - before), (0, 0), (0, 0)))
        features.append(normalized(w, number, layer(name, padded)).max(axis=1))
    stack = [np.concatenate(features, axis=1)]
    last = None
    for number in (5, 6, 7):
        x = stack[0] if last is None else last
        new = layer(f"conv2d_{number}", np.pad(x[..., None], ((3, 3), (0, 0), (0, 0))))[:, 0]
        new = normalized(w, number + 1, new)
        last = new if last is None else new + last
        stack.append(last)
    stack = np.concatenate(stack, axis=1)
    pooled = np.stack([stack.max(axis=0), stack.mean(axis=0)], axis=1).reshape(-1)
    hidden = normalized(w, 9, pooled) @ w["dense/kernel"] + w["dense/bias"]
    return normalized(w, 10, np.maximum(hidden, 0))


def numpy_vgg(w, patch):
    x = normalized(w, 0, patch[..., None])
    for number, (pool, step) in enumerate([((4, 1), 2), ((2, 2), 2), ((2, 2), 2), ((2, 2), 2), ((4, 4), 4)], 1):
        x = convolved(np.pad(x, ((1, 1), (1, 1), (0, 0))), w[f"{number}CNN/kernel"], w[f"{number}CNN/bias"])
        windows = np.lib.stride_tricks.sliding_window_view(normalized(w, number, x), pool, axis=(0, 1))
        x = windows[::step, ::step].max(axis=(-2, -1))
    return x.reshape(-1)


NETWORKS = {"musicnn": (musicnn_networks.MUSICNN, numpy_musicnn), "musicnn-vgg": (musicnn_networks.VGG, numpy_vgg)}


def loaded(folder: pathlib.Path, name: str) -> tuple[musicnn.MusicNN, dict[str, np.ndarray]]:
    weights = random_weights(NETWORKS[name][0].shapes, np.random.default_rng(len(name)))
    # As in the wheel there is what only training and the tags need.
    tf_checkpoint.write(folder, weights | {f"{one}/Adam": array for one, array in list(weights.items())[:9]})
    return musicnn.MusicNN(folder), weights


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_numpy_with_random_weights(name, tmp_path):
    embedding, weights = loaded(tmp_path / "model", name)
    noise = np.random.default_rng(1).standard_normal(7 * RATE).astype(np.float32) * 0.1
    frames = embedding.embed(noise, RATE)
    assert frames.shape == (2, embedding.dimensions) and embedding.name == name
    spectra = musicnn.log_mel(noise)
    for index, frame in enumerate(frames):
        want = NETWORKS[name][1](weights, spectra[187 * index : 187 * (index + 1)])
        np.testing.assert_allclose(frame, want, rtol=1e-3, atol=1e-3 * np.abs(want).max())


@pytest.mark.slow
@pytest.mark.parametrize("model", ["MTT_musicnn", "MSD_musicnn", "MTT_vgg", "MSD_vgg"])
def test_published_weights_know_instruments(model):
    folder = REPOSITORY / "embeddings" / model
    if not folder.is_dir() or not RECORDINGS.is_dir():
        pytest.skip("needs `make embeddings` and the real recordings")
    embedding, weights = musicnn.MusicNN(folder), tensor_bundle.read(folder, "")
    kind, tags = model.split("_")[1], model.split("_")[0]
    assert embedding.name == ("musicnn-" if kind == "musicnn" else "musicnn-vgg-") + tags
    path = RECORDINGS / "orsa_pistachio_ragtime.ogg"
    rate = soundfile.info(path).samplerate
    audio, _ = soundfile.read(path, start=2 * rate, frames=3 * rate, dtype="float32", always_2d=True)
    frame = embedding.embed(audio.mean(axis=1), rate)[0]
    spectra = musicnn.log_mel(librosa.resample(audio.mean(axis=1), orig_sr=rate, target_sr=RATE, res_type="soxr_hq"))
    want = NETWORKS[embedding.name.rsplit("-", 1)[0]][1](weights, spectra[:187])
    np.testing.assert_allclose(frame, want, rtol=1e-2, atol=1e-2 * np.abs(want).max())
    dense = "dense_1" if kind == "musicnn" else "dense"
    likeliest = int(np.argmax(frame @ weights[f"{dense}/kernel"] + weights[f"{dense}/bias"]))
    assert likeliest == {"MTT": 9, "MSD": 9}[tags]  # "piano" and "jazz" in the lists of tags


def test_front_end_equals_librosa():
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    power = librosa.feature.melspectrogram(
        y=noise, sr=RATE, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect", power=2.0
    )
    want = np.log10(10_000 * power.T.astype(np.float16).astype(np.float32) + 1)
    np.testing.assert_allclose(musicnn.log_mel(noise), want, atol=2e-3)  # a step of float16 at 10 000 x


def test_the_shortest_clip_has_a_frame_and_a_shorter_one_none():
    shortest = round(musicnn.MusicNN.window_seconds * RATE)
    assert len(musicnn.log_mel(np.zeros(shortest, np.float32))) == musicnn.PATCH
    assert len(musicnn.log_mel(np.zeros(shortest - 1, np.float32))) == musicnn.PATCH - 1


def test_the_version_is_of_the_weights(tmp_path):
    first, weights = loaded(tmp_path / "a", "musicnn-vgg")
    weights["1CNN/bias"] = weights["1CNN/bias"] + np.float32(1e-6)
    tf_checkpoint.write(tmp_path / "b", weights)
    again, other = musicnn.MusicNN(tmp_path / "a"), musicnn.MusicNN(tmp_path / "b")
    assert first.version == again.version != other.version
    assert first.distance == "FD-musicnn-vgg"


def test_another_network_is_refused(tmp_path):
    shapes = dict(musicnn_networks.VGG.shapes) | {"2CNN/kernel": (3, 3, 32, 32)}
    tf_checkpoint.write(tmp_path, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    with pytest.raises(ValueError, match=r"2CNN/kernel \[3, 3, 32, 32\], not \[3, 3, 128, 128\].*make embeddings"):
        musicnn.MusicNN(tmp_path)
    with pytest.raises(FileNotFoundError, match="make embeddings"):
        musicnn.MusicNN(tmp_path / "nowhere")
