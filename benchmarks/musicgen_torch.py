"""The peer of `decode`: MusicGen's decoder in transformers, cached, with random weights."""

import torch
import transformers

from musicgen_jax import config


class Decoder:
    """One codebook, no text: the blocks' self-attention and MLPs, as large as the prior's."""

    def __init__(
        self,
        model: config.PriorConfig,
        batch_size: int,
        position: int,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        """Args:
        model: whose sizes to take.
        batch_size: sequences decoded together.
        position: codes that the cache holds; their keys and values are random.
        device: "cpu" or "cuda".
        dtype: of weights, activations and cache.
        """
        settings = model.transformer
        shape = transformers.MusicgenDecoderConfig(
            vocab_size=model.num_codes,
            num_codebooks=1,
            num_hidden_layers=settings.num_layers,
            hidden_size=settings.width,
            num_attention_heads=settings.num_heads,
            ffn_dim=settings.mlp_width,
            max_position_embeddings=model.context,
        )
        self.decoder = transformers.MusicgenForCausalLM(shape).eval().to(device, dtype)
        self.position = position
        self.cache = transformers.DynamicCache()
        past = (batch_size, settings.num_heads, position, settings.width // settings.num_heads)
        for layer in range(settings.num_layers):
            keys, values = (torch.randn(past, device=device, dtype=dtype) for _ in range(2))
            self.cache.update(keys, values, layer)
        self.codes = torch.zeros((batch_size, 1), dtype=torch.long, device=device)

    @torch.inference_mode()
    def run(self, steps: int) -> torch.Tensor:
        """Decodes `steps` codes from `position` on, each drawn from the whole distribution: int64 [B, 1], the last."""
        codes = self.codes
        for _ in range(steps):
            out = self.decoder(input_ids=codes, past_key_values=self.cache, use_cache=True)
            codes = torch.multinomial(out.logits[:, -1].float().softmax(dim=-1), 1)
        self.cache.crop(self.position)
        return codes.cpu()  # a GPU has finished when it is here
