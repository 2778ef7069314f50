"""The peer: the same training step through the torch modules of transformers' Jukebox, on the CPU or a GPU."""

import torch
from torch.nn import functional
from transformers.models.deprecated.jukebox import configuration_jukebox, modeling_jukebox

from musicgen_jax import config
from musicgen_jax.audio import spectral_losses


class Tier(torch.nn.Module):
    """Jukebox's encoder, bottleneck (straight-through, EMA codebook with restarts) and decoder of one tier."""

    def __init__(self, tier: config.TierConfig, quantizer: config.QuantizerConfig):
        super().__init__()
        settings = configuration_jukebox.JukeboxVQVAEConfig(
            res_dilation_growth_rate=tier.dilation_growth,
            embed_dim=quantizer.code_width,
            nb_discrete_codes=quantizer.num_codes,
            lmu=quantizer.ema_decay,
        )
        sizes = (tier.width, tier.depth, len(tier.downsampling), tier.downsampling, [2] * len(tier.downsampling))
        self.encoder = modeling_jukebox.JukeboxEncoder(settings, *sizes)
        self.bottleneck = modeling_jukebox.JukeboxBottleneckBlock(settings)
        self.decoder = modeling_jukebox.JukeboxDecoder(settings, *sizes)

    def forward(self, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, S] -> (reconstruction [B, S], commitment loss); updates the codebook."""
        latents = self.encoder(audio[:, None])[-1]
        _, quantized, commitment_loss, _ = self.bottleneck(latents, update_codebook=True)
        return self.decoder([quantized], all_levels=False)[:, 0], commitment_loss

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """[B, T] -> [B, T * hop_length]."""
        return self.decoder([self.bottleneck.decode(codes)], all_levels=False)[:, 0]


class Peer:
    """All three tiers, their loss and Adam, as `configs/vqvae.py` has them."""

    def __init__(self, run: config.VQVAETraining, dtype: torch.dtype, device: str):
        self.tiers = torch.nn.ModuleDict(
            {name: Tier(stream, run.model.quantizer) for name, stream in run.model.streams.items()}
        )
        self.tiers.to(device)
        optimizer = run.optimizer
        betas = (optimizer.b1, optimizer.b2)
        self.optimizer = torch.optim.Adam(self.tiers.parameters(), lr=optimizer.peak_learning_rate, betas=betas)
        self.weights, self.dtype, self.device = run.loss, dtype, device

    def step(self, audio: torch.Tensor) -> float:
        """Forward, backward and update on [B, S] float32; returns the loss."""
        self.optimizer.zero_grad()
        targets = magnitudes(audio)
        loss = torch.zeros((), device=self.device)
        for tier in self.tiers.values():
            with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
                produced, commitment_loss = tier(audio)
            produced = produced.float()
            loss = loss + self.weights.l2 * relative_error(audio, produced)
            errors = [relative_error(x, y) for x, y in zip(targets, magnitudes(produced), strict=True)]
            loss = loss + self.weights.spectral * sum(errors) / len(errors) + self.weights.commitment * commitment_loss
        loss.backward()
        self.optimizer.step()
        return loss.item()  # waits for the device

    def decode(self, tier: str, codes: torch.Tensor) -> None:
        """Decodes [B, T] and waits for the result."""
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            self.tiers[tier].decode(codes)
        if self.device == "cuda":
            torch.cuda.synchronize()

    def num_parameters(self) -> int:
        """Trainable scalars."""
        return sum(parameter.numel() for parameter in self.tiers.parameters())


def magnitudes(audio: torch.Tensor) -> list[torch.Tensor]:
    """|STFT| of [B, S] at our own resolutions."""
    found = []
    for n_fft, hop_length, window_length in spectral_losses.resolutions(audio.shape[-1]):
        spectrum = torch.stft(
            audio,
            n_fft,
            hop_length,
            window_length,
            torch.hann_window(window_length, device=audio.device),
            pad_mode="constant",
            return_complex=True,
        )
        found.append(spectrum.abs())
    return found


def relative_error(target: torch.Tensor, produced: torch.Tensor) -> torch.Tensor:
    """Squared error over energy."""
    return functional.mse_loss(produced, target) / (target.square().mean() + 1e-8)
