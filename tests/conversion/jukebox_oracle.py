"""Hugging Face's Jukebox VQ-VAE with given weights: what ours must compute. Needs torch and transformers.

    python tests/conversion/jukebox_oracle.py

writes the golden file that `make test` compares with where they are not installed.
"""

import pathlib
import sys

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[n]) for n in (0, 2)]

import published_files

from musicgen_jax import config
from musicgen_jax.conversion import hugging_face_names, jukebox_vqvae

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "jukebox_vqvae.npz"


def build(model: config.VQVAEConfig, tensors: dict[str, np.ndarray]):
    """`JukeboxVQVAE` in the sizes of `model` with the weights of {original name: array}, or with torch's own."""
    import torch
    from transformers.models.deprecated.jukebox import JukeboxVQVAE, JukeboxVQVAEConfig

    settings = JukeboxVQVAEConfig(
        embed_dim=model.quantizer.code_width,
        nb_discrete_codes=model.quantizer.num_codes,
        multipliers=[model.streams[tier].width // model.top.width for tier in ("bottom", "middle", "top")],
        res_conv_width=model.top.width,
        res_conv_depth=model.top.depth,
        res_dilation_growth_rate=model.top.dilation_growth,
        res_downs_t=list(model.top.downsampling),
        sample_length=model.top.hop_length,
    )
    oracle = JukeboxVQVAE(settings).eval()
    state = {hugging_face_names.hugging_face_name(name): torch.from_numpy(array) for name, array in tensors.items()}
    if state:
        oracle.load_state_dict(state)
    return oracle


def fill_codebooks(oracle, audio: np.ndarray) -> None:
    """Entries = the oracle's own latents of `audio` [S], so that many are hit; where they run out, others far away.

    Entries that lie close to each other would make near-ties, which rounding decides.
    """
    import torch

    rng = np.random.default_rng(1)
    with torch.no_grad():
        for encoder, block in zip(oracle.encoders, oracle.bottleneck.level_blocks, strict=True):
            latents = encoder(torch.from_numpy(audio)[None, None])[-1][0].T.numpy()
            own = rng.permutation(latents)[: len(block.codebook)]
            noise = rng.standard_normal((len(block.codebook) - len(own), latents.shape[1]))
            others = latents[rng.choice(len(latents), len(noise))] + latents.std(axis=0) * noise
            block.codebook.copy_(torch.from_numpy(np.concatenate([own, others])))


def run(oracle, audio: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """{tier: {"codes": [T], "audio": [S]}} of `audio` [S]."""
    import torch

    results = {}
    with torch.no_grad():
        codes = oracle.encode(torch.from_numpy(audio)[None, :, None])
        for tier, level in jukebox_vqvae.LEVELS.items():
            decoded = oracle.decode([codes[level]], start_level=level, end_level=level + 1)
            results[tier] = {"codes": codes[level][0].numpy(), "audio": decoded[0, :, 0].numpy()}
    return results


def golden() -> dict[str, np.ndarray]:
    """What the golden file holds: for the tiny model, codebooks, an input, its codes and what they decode to."""
    model = published_files.tiny_run().model
    oracle = build(model, published_files.vqvae_tensors(model))
    audio = (0.3 * np.random.default_rng(2).standard_normal(256)).astype(np.float32)
    fill_codebooks(oracle, audio)
    arrays = {"input": audio}
    for tier, results in run(oracle, audio).items():
        level = jukebox_vqvae.LEVELS[tier]
        arrays[f"{tier}/codebook"] = oracle.bottleneck.level_blocks[level].codebook.numpy()
        arrays[f"{tier}/codes"] = results["codes"].astype(np.int16)
        arrays[f"{tier}/audio"] = results["audio"]
    return arrays


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **golden())
