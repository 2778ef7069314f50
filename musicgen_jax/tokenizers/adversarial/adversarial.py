"""The VQ-VAE against a discriminator: the module and the objective that `train_vqvae` trains, off by default.

One scalar serves both players. The decoders' terms see the discriminator behind a stop-gradient, the discriminator's
hinge loss sees the reconstructions behind one; so the gradient of the sum is each player's own gradient, and one
optimizer steps both. Adam scales every parameter by itself; gradient clipping would couple the players, so the
discriminator is clipped apart (`CLIPPED_APART`).

All tiers face the same discriminator, as all bit rates of EnCodec do: what it learns of real audio serves three times,
and audio is judged once a step instead of three times. Each tier has its own terms and its own balancer.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers.adversarial import balancer, discriminator
from musicgen_jax.tokenizers.vqvae import data_statistics, loss, vqvae

CLIPPED_APART = ("discriminator",)
TERMS = (*loss.RECONSTRUCTION, "adversarial", "feature_matching")  # what decoders are trained on

Objective = Callable[[vqvae.VQVAE, dict[str, jax.Array], jax.Array, bool], tuple[jax.Array, loss.Terms]]


class AdversarialVQVAE(vqvae.VQVAE):
    """A VQ-VAE whose tiers are as ever, with the discriminator that judges them and a loss balancer for each tier."""

    def __init__(
        self,
        vqvae_config: config.Streams,
        adversarial: config.AdversarialConfig,
        *,
        network: vqvae.Network = vqvae.TierVQVAE,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(vqvae_config, network=network, dtype=dtype, rngs=rngs)
        self.discriminator = discriminator.Discriminator(adversarial, dtype=dtype, rngs=rngs)
        if adversarial.balance_decay:
            balancers = {tier: balancer.LossBalancer(TERMS, adversarial.balance_decay) for tier in vqvae_config.streams}
            self.balancers = nnx.Dict(balancers)


def adversarial_loss(
    model: AdversarialVQVAE,
    audio: jax.Array,
    settings: config.LossConfig,
    adversarial: config.AdversarialConfig,
    key: jax.Array,
    train: bool,
    statistics: data_statistics.AudioStatistics | None = None,
) -> tuple[jax.Array, loss.Terms]:
    """`loss.vqvae_loss` with the terms adversarial and feature_matching for each tier, and the discriminator's own.

    The value is the decoders' objective, as without a balancer; the discriminator's loss adds its gradient alone.

    Args:
      model: bound module; codebooks and balancers are updated in place when `train` is set.
      audio: [B, S] float32.
      settings: weights of the terms that compare waveforms.
      adversarial: weights of the discriminator's terms.
      key: restart candidates, and the noise of a synthesizer.
      train: whether to update buffers.
      statistics: of the training data; None takes those of this batch.

    Returns:
      The scalar; metrics TIER/TERM, discriminator/loss and discriminator/accuracy.

    Raises:
      UserError: the audio is too short for a term.
    """
    real = model.discriminator(audio)
    judge = discriminator.frozen(model.discriminator)
    weights = dataclasses.asdict(settings)
    weights |= {"adversarial": adversarial.weight, "feature_matching": adversarial.feature_matching}
    outputs = {}

    def against_discriminator(tier: str, reference: loss.Reference, reconstruction: jax.Array):
        outputs[tier] = jax.lax.stop_gradient(reconstruction)

        def terms(produced: jax.Array) -> loss.Terms:
            judgement = judge(produced)
            found = loss.reconstruction_terms(reference, produced, settings)
            found["adversarial"] = discriminator.generator_loss(judgement, adversarial.objective)
            if adversarial.feature_matching:
                found["feature_matching"] = discriminator.feature_matching_loss(real, judgement, adversarial.objective)
            return found

        if train and adversarial.balance_decay:
            return model.balancers[tier].balance(terms, reconstruction, weights, loss.RECONSTRUCTION)
        values = terms(reconstruction)
        return loss.weighted_sum(values, weights), values

    total, metrics = loss.vqvae_loss(model, audio, settings, key, train, statistics, against_discriminator)
    produced = [model.discriminator(outputs[tier]) for tier in model.config.streams]
    own_loss = discriminator.discriminator_loss(real, produced, adversarial.objective)
    accuracy = discriminator.accuracy(real, produced, adversarial.objective)
    metrics |= {"discriminator/loss": own_loss, "discriminator/accuracy": accuracy}
    return total + balancer.gradient_only(own_loss), metrics


def functional(
    run: config.VQVAETraining, dtype: jnp.dtype = jnp.float32, network: vqvae.Network = vqvae.TierVQVAE
) -> modules.Functional:
    """The module that a run trains: a VQ-VAE, or the codec whose `network` is given, with a discriminator where
    `run.adversarial.weight` is above 0."""
    kinds = {"network": network, "dtype": dtype}
    if run.adversarial.weight == 0:
        return modules.Functional(lambda rngs: vqvae.VQVAE(run.model, **kinds, rngs=rngs))
    return modules.Functional(lambda rngs: AdversarialVQVAE(run.model, run.adversarial, **kinds, rngs=rngs))


def tiers_alone(
    run: config.VQVAETraining, weights: tuple[modules.Tree, modules.Tree]
) -> tuple[modules.Tree, modules.Tree]:
    """(parameters, buffers) of `functional(run)` without the discriminator's. A tier has no buffers where its
    quantizer has no codebook."""
    params, buffers = ({tier: tree[tier] for tier in run.model.streams if tier in tree} for tree in weights)
    return params, buffers


def objective(run: config.VQVAETraining, statistics: data_statistics.AudioStatistics | None = None) -> Objective:
    """The loss of `functional(run)`: (module, {"audio": [B, S]}, key, train) -> (scalar, metrics).

    Without `statistics`, those of the batch divide its terms: `batch["statistics"]`, or what its audio has.
    """

    def loss_of(model: vqvae.VQVAE, batch: dict[str, jax.Array], key: jax.Array, train: bool):
        divisors = batch.get("statistics") if statistics is None else statistics
        if run.adversarial.weight == 0:
            return loss.vqvae_loss(model, batch["audio"], run.loss, key, train, divisors)
        return adversarial_loss(model, batch["audio"], run.loss, run.adversarial, key, train, divisors)

    return loss_of
