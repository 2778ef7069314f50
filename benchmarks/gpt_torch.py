"""The peer of `prior_step`: a torch GPT of the same shape with relative attention, on the CPU or a GPU.

Pre-norm blocks, relative logits by the skew of Music Transformer (Huang et al. 2019), fused AdamW. The relative logits
need their gradient, which torch's fused attention does not give to a mask, so attention is three matrix products.
"""

import torch
from torch import nn
from torch.nn import functional

from musicgen_jax import config


class Attention(nn.Module):
    """Causal self-attention; each head has a table of distances 0 .. M - 1, and nothing beyond it."""

    def __init__(self, settings: config.TransformerConfig, context: int):
        super().__init__()
        inner = settings.num_heads * settings.head_dim
        self.num_heads, self.head_dim = settings.num_heads, settings.head_dim
        self.qkv = nn.Linear(settings.width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, settings.width, bias=False)
        shape = (settings.num_heads, min(settings.max_distance or context, context), settings.head_dim)
        self.distances = nn.Parameter(settings.head_dim**-0.5 * torch.randn(shape))
        future = torch.ones(context, context, dtype=torch.bool).triu(1)
        self.register_buffer("future", future, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, D] -> [B, T, D]."""
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.num_heads, self.head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = self.attend(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, -1))

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Each [B, H, T, D_h] -> [B, H, T, D_h]."""
        length = query.shape[2]
        query = query * self.head_dim**-0.5
        logits = query @ key.transpose(-1, -2) + self.by_distance(query)
        logits = logits.masked_fill(self.future[:length, :length], float("-inf"))
        return logits.softmax(-1) @ value

    def by_distance(self, query: torch.Tensor) -> torch.Tensor:
        """Query i's product with the embedding of distance i - j: [B, H, T, D_h] -> [B, H, T, T]; what is above the
        diagonal means nothing."""
        batch, heads, length, _ = query.shape
        # Columns from the furthest distance to 0, zeros for those beyond the table; then every row moves by one.
        near = self.distances[:, :length].flip(1)
        logits = functional.pad(query @ near.transpose(-1, -2), (1 + length - near.shape[1], 0))
        return logits.view(batch, heads, length + 1, length)[:, :, 1:]


class Block(nn.Module):
    """x += attention(norm(x)); x += mlp(norm(x))."""

    def __init__(self, settings: config.TransformerConfig, context: int):
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(settings.width), nn.LayerNorm(settings.width)
        self.attention = Attention(settings, context)
        self.hidden = nn.Linear(settings.width, settings.mlp_width)
        self.out = nn.Linear(settings.mlp_width, settings.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, D] -> [B, T, D]."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.out(functional.gelu(self.hidden(self.mlp_norm(x)), approximate="tanh"))


class GPT(nn.Module):
    """Codes -> logits of each given those before it."""

    def __init__(self, model: config.PriorConfig):
        super().__init__()
        settings = model.transformer
        self.codes = nn.Embedding(model.num_codes, settings.width)
        self.start = nn.Parameter(torch.randn(settings.width))
        self.blocks = nn.ModuleList(Block(settings, model.context) for _ in range(settings.num_layers))
        self.norm = nn.LayerNorm(settings.width)
        self.logits = nn.Linear(settings.width, model.num_codes)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """int64 [B, T] -> [B, T, K]."""
        start = self.start.expand(codes.shape[0], 1, -1)
        x = torch.cat([start, self.codes(codes[:, :-1])], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.logits(self.norm(x))


class Peer:
    """The model, its loss and AdamW, as `configs/prior.py` has them."""

    def __init__(self, run: config.PriorTraining, dtype: torch.dtype, device: str):
        self.gpt, self.dtype, self.device = GPT(run.model).to(device), dtype, device
        settings = run.optimizer
        self.clip_norm = settings.clip_norm
        self.optimizer = torch.optim.AdamW(
            self.gpt.parameters(),
            lr=settings.peak_learning_rate,
            betas=(settings.b1, settings.b2),
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def step(self, codes: torch.Tensor) -> float:
        """Forward, backward and update on int64 [B, T]; returns the loss."""
        self.optimizer.zero_grad()
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.gpt(codes)
        loss = functional.cross_entropy(logits.float().flatten(0, 1), codes.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(self.gpt.parameters(), self.clip_norm)
        self.optimizer.step()
        return loss.item()  # waits for the device

    def num_parameters(self) -> int:
        """Trainable scalars."""
        return sum(parameter.numel() for parameter in self.gpt.parameters())
