"""From recordings to new music: VQ-VAE tokenizer, Transformer priors, sampling and evaluation, in JAX."""
