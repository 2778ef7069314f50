"""Hugging Face's EnCodec with random weights, and what it makes of audio: what ours is compared with.

torch and transformers are needed for it alone. Run as a program,

    python tests/encodec_oracle.py

writes the golden file that `make test` compares with where they are not installed.
"""

import pathlib
import sys
from typing import Any

import numpy as np

GOLDEN = pathlib.Path(__file__).resolve().parent / "golden" / "encodec.npz"
TINY = {
    "sampling_rate": 4000,
    "num_filters": 4,
    "upsampling_ratios": [3, 2],
    "hidden_size": 8,
    "codebook_size": 16,
    "target_bandwidths": [8.1],  # kbit/s, of three codebooks
}
# What the published models differ in, at reduced size.
TINY_MODELS = {
    "24khz": TINY,
    "32khz": TINY | {"use_causal_conv": False, "use_conv_shortcut": False},
    "48khz": TINY
    | {
        "use_causal_conv": False,
        "norm_type": "time_group_norm",
        "normalize": True,
        "audio_channels": 2,
        "chunk_length_s": 0.06,
        "overlap": 0.01,
    },
}
PUBLISHED = {
    "24khz": {"target_bandwidths": [1.5, 3.0, 6.0, 12.0, 24.0]},
    "32khz": {
        "sampling_rate": 32_000,
        "num_filters": 64,
        "upsampling_ratios": [8, 5, 4, 4],
        "codebook_size": 2048,
        "target_bandwidths": [2.2],
        "use_causal_conv": False,
        "use_conv_shortcut": False,
    },
    "48khz": {
        "sampling_rate": 48_000,
        "audio_channels": 2,
        "target_bandwidths": [3.0, 6.0, 12.0, 24.0],
        "use_causal_conv": False,
        "norm_type": "time_group_norm",
        "normalize": True,
        "chunk_length_s": 1.0,
        "overlap": 0.01,
    },
}


def build(values: dict[str, Any], audio: np.ndarray, seed: int = 0) -> Any:
    """An `EncodecModel` with torch's own initial weights, a little louder so that the audio is not drowned by biases,
    and codebooks that lie on what those before them leave of the audio's latents.

    Args:
      values: of `EncodecConfig`.
      audio: float32 [C, S].
      seed: of all weights.
    """
    import torch
    import transformers

    torch.manual_seed(seed)
    model = transformers.EncodecModel(transformers.EncodecConfig(**values)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("original0", "norm.weight")):
                parameter.mul_(1.5)
            if name.endswith("bias") and ".lstm." not in name:
                parameter.mul_(0.2)
    fill_codebooks(model, audio)
    return model


def fill_codebooks(model: Any, audio: np.ndarray) -> None:
    """Entries lie about as what the codebooks before leave of the model's own latents of `audio` [C, S] does: many are
    hit, and as of trained ones each leaves most of it. (Where little is left, all entries are ties.)"""
    import torch

    torch.manual_seed(1)
    with torch.no_grad():
        residual = model.encoder(torch.from_numpy(audio)[None])[0].T
        for layer in model.quantizer.layers:
            codebook = layer.codebook
            drawn_entries = torch.randn(codebook.embed.shape)
            codebook.embed.copy_(residual.mean(0) + 0.5 * residual.std(0) * drawn_entries)
            codebook.embed_avg.copy_(codebook.embed)
            codebook.cluster_size.fill_(1.0)
            nearest = torch.cdist(residual, codebook.embed).argmin(dim=1)
            residual = residual - codebook.embed[nearest]


def run(model: Any, audio: np.ndarray, num_codebooks: int | None = None) -> dict[str, np.ndarray]:
    """What the model makes of audio [C, S]: codes [chunks, T, Q], scales [chunks] where it normalizes, audio [C, S]."""
    import torch

    bandwidth = model.config.target_bandwidths[-1]
    with torch.inference_mode():
        found = model.encode(torch.from_numpy(audio)[None], bandwidth=bandwidth)
        codes = found.audio_codes[:, :, :num_codebooks]
        decoded = model.decode(codes, found.audio_scales, last_frame_pad_length=found.last_frame_pad_length)[0]
    made = {"codes": codes[:, 0].swapaxes(1, 2).numpy().astype(np.int16), "audio": decoded[0].numpy()}
    if model.config.normalize:
        made["scales"] = np.array([float(scale) for scale in found.audio_scales], np.float32)
    return made


def tiny_audio(channels: int) -> np.ndarray:
    """Tones that come and go, float32 [C, S]; not a whole number of chunks, nor of frames."""
    seconds = np.arange(601) / 4000
    waves = [np.sin(2 * np.pi * hertz * seconds) * np.cos(40 * seconds + hertz) for hertz in (110, 330, 777, 1500)]
    return np.stack([0.3 * (waves[0] + waves[2 + c]) + 0.1 * waves[1] for c in range(channels)]).astype(np.float32)


def drawn(shapes: dict[str, tuple[int, ...]], codebooks: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Tensors of Hugging Face's names, drawn in the order of these: the same in any program.

    Args:
      shapes: {name: shape} of a tiny model.
      codebooks: float32 [Q, K, W]; None draws them.
    """
    rng, found = np.random.default_rng(7), {}
    for name in sorted(shapes):
        values = rng.standard_normal(shapes[name]).astype(np.float32)
        if name.endswith(("original0", "norm.weight")):
            values = 1.3 + 0.1 * values
        elif name.endswith("bias"):
            values = 0.05 * values
        elif ".lstm." in name:
            values = values / np.float32(np.sqrt(shapes[name][-1]))
        elif name.endswith(("cluster_size", "inited")):
            values = np.ones_like(values)
        elif ".codebook.embed" in name and codebooks is not None:
            values = codebooks[int(name.split(".")[2])]
        elif name.endswith(".conv.weight"):
            values = values / np.float32(np.sqrt(np.prod(shapes[name][1:])))
        found[name] = np.asarray(values, np.float32)
    return found


def tiny_model(name: str, codebooks: np.ndarray | None = None) -> Any:
    """One of `TINY_MODELS` with the weights of `drawn`; without `codebooks`, those that its latents make."""
    import torch

    audio = tiny_audio(TINY_MODELS[name].get("audio_channels", 1))
    model = build(TINY_MODELS[name], audio)
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    model.load_state_dict({key: torch.from_numpy(array) for key, array in drawn(shapes, codebooks).items()})
    if codebooks is None:
        fill_codebooks(model, audio)
    return model


def golden() -> dict[str, np.ndarray]:
    """What the golden file holds, of each tiny model: its codebooks, and what it makes of `tiny_audio`."""
    found = {}
    for name, values in TINY_MODELS.items():
        model = tiny_model(name)
        books = np.stack([layer.codebook.embed.numpy() for layer in model.quantizer.layers])
        made = {"codebooks": books} | run(model, tiny_audio(values.get("audio_channels", 1)))
        found |= {f"{name}/{key}": array for key, array in made.items()}
    return found


if __name__ == "__main__":
    sys.stdout.write(f"{GOLDEN}\n")
    np.savez_compressed(GOLDEN, **golden())
