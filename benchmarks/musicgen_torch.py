"""The peers of `decode` and of `musicgen`: MusicGen in transformers, with random weights."""

import numpy as np
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


class Whole:
    """The whole of MusicGen's prior in transformers: several codebooks, a text, guidance."""

    def __init__(self, model: config.MusicgenConfig, tensors: dict[str, np.ndarray]):
        """Args:
        model: sizes.
        tensors: of the decoder and of the projection of texts, by the names of published files.
        """
        settings = model.transformer
        shape = transformers.MusicgenDecoderConfig(
            vocab_size=model.num_codes,
            num_codebooks=model.num_codebooks,
            num_hidden_layers=settings.num_layers,
            hidden_size=settings.width,
            num_attention_heads=settings.num_heads,
            ffn_dim=settings.mlp_width,
            dropout=0.0,
        )
        with torch.device("meta"):  # the tensors come below
            self.decoder = transformers.MusicgenForCausalLM(shape)
            self.project = torch.nn.Linear(model.text_width, settings.width)
        positions = self.decoder.model.decoder.embed_positions  # computed, and in no file
        del positions.weights
        positions.weights = positions.get_embedding(shape.max_position_embeddings, settings.width)
        for prefix, module in {"decoder.": self.decoder, "enc_to_dec_proj.": self.project}.items():
            own = {
                name.removeprefix(prefix): torch.from_numpy(one)
                for name, one in tensors.items()
                if name.startswith(prefix)
            }
            module.load_state_dict(own, strict=False, assign=True)
        self.model, self.num_codebooks = model, model.num_codebooks
        self.optimizer: torch.optim.Optimizer | None = None

    @torch.inference_mode()
    def begin(self, text: np.ndarray, position: int) -> None:
        """Fills the caches with the steps before `position`, for texts float32 [B, M, W] with and without."""
        states = self.project(torch.from_numpy(text))
        self.states = torch.cat([states, torch.zeros_like(states)])
        mask = torch.ones(states.shape[:2], dtype=torch.long)
        self.mask = torch.cat([mask, torch.zeros_like(mask)])
        self.cache = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
        self.position, self.size = position, len(text)
        self._logits(torch.zeros((2 * self.size * self.num_codebooks, position), dtype=torch.long))

    @torch.inference_mode()
    def run(self, steps: int, guidance: float, top_k: int) -> torch.Tensor:
        """Decodes `steps` steps from where `begin` left off: int64 [B * Q], the last codes."""
        codes = torch.zeros((self.size * self.num_codebooks, 1), dtype=torch.long)
        for _ in range(steps):
            told, untold = self._logits(codes.repeat(2, 1)).chunk(2)
            logits = untold + guidance * (told - untold)
            least = torch.topk(logits, top_k).values[:, -1:]
            shares = logits.masked_fill(logits < least, float("-inf")).softmax(dim=-1)
            codes = torch.multinomial(shares, 1)
        self.cache.self_attention_cache.crop(self.position)
        return codes

    def _logits(self, codes: torch.Tensor) -> torch.Tensor:
        out = self.decoder(
            input_ids=codes,
            encoder_hidden_states=self.states,
            encoder_attention_mask=self.mask,
            past_key_values=self.cache,
            use_cache=True,
        )
        return out.logits[:, -1]

    def train(self, codes: np.ndarray, text: np.ndarray, rate: float) -> float:
        """Forward, backward, clipping and AdamW on ids int64 [B, Q, S], of which each predicts the next; the loss."""
        parameters = [*self.decoder.parameters(), *self.project.parameters()]
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        self.optimizer.zero_grad()
        ids = torch.from_numpy(codes)
        told = self.project(torch.from_numpy(text))
        mask = torch.ones(told.shape[:2], dtype=torch.long)
        out = self.decoder(
            input_ids=ids[..., :-1].reshape(-1, ids.shape[2] - 1),
            encoder_hidden_states=told,
            encoder_attention_mask=mask,
        )
        wanted = ids[..., 1:].reshape(-1)
        logits, exists = out.logits.reshape(len(wanted), -1), wanted < self.model.num_codes
        loss = torch.nn.functional.cross_entropy(logits[exists], wanted[exists])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        return loss.item()
