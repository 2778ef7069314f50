"""The peer of `encodec`: transformers' EnCodec under torch, with our weights."""

import numpy as np
import torch
import transformers

from musicgen_jax import config
from musicgen_jax.conversion import encodec_settings, encodec_weights, weight_table
from musicgen_jax.nn import modules


class Peer:
    """EnCodec of the sizes and weights of ours.

    Args:
      settings: of ours.
      tree: our weights, {"params": ..., "buffers": ...}.
    """

    def __init__(self, settings: config.EncodecConfig, tree: modules.Tree):
        plain = weight_table.to_published(encodec_weights.weights(settings), tree)
        tensors = encodec_weights.published(plain, settings, original=False)
        self.model = transformers.EncodecModel(transformers.EncodecConfig(**encodec_settings.to_hugging_face(settings)))
        self.model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in tensors.items()})
        self.model.eval()

    @torch.inference_mode()
    def encode(self, audio: np.ndarray) -> np.ndarray:
        """float32 [B, S] -> codes [B, T, Q]."""
        bandwidth = self.model.config.target_bandwidths[-1]
        return self.model.encode(torch.from_numpy(audio)[:, None], bandwidth=bandwidth).audio_codes[0].mT.numpy()

    @torch.inference_mode()
    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes [B, T, Q] -> float32 [B, S]."""
        return self.model.decode(torch.from_numpy(codes).long().mT[None], [None])[0][:, 0].numpy()
