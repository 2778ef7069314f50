"""Both players on one scalar: whose gradient is whose, that the discriminator learns, eight devices, and a tiny run."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_runs
import tiny_workdirs
from conftest import SAMPLE_RATE, random_weights
from tiny_layouts import TIERS

from musicgen_jax import config, pretrained
from musicgen_jax.data import loader
from musicgen_jax.nn import modules
from musicgen_jax.sharding import meshes
from musicgen_jax.tokenizers.adversarial import adversarial, discriminator
from musicgen_jax.tokenizers.vqvae import loss, vqvae, vqvae_tokenizer

pytestmark = pytest.mark.long

ON = config.AdversarialConfig(weight=0.5, feature_matching=2.0, fft_sizes=(64,), width=4)
UNBALANCED = dataclasses.replace(ON, balance_decay=0.0)
WAVEFORM = config.LossConfig(l2=1.0, linf=0.1, linf_k=20, spectral=0.0)  # quick to compile
EVERYTHING = config.LossConfig(l1=1, l2=1, linf=1, linf_k=20, spectral=1, log_spectral=1, mel=1)
GRADIENTS_CLOSE = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6)


def small() -> config.VQVAEConfig:
    """Hops 8, 4, 2: few layers, so that compiling them is quick."""
    sizes = {"width": 8, "depth": 1}
    return config.VQVAEConfig(
        sample_rate=SAMPLE_RATE,
        top=config.TierConfig(downsampling=(3,), **sizes),
        middle=config.TierConfig(downsampling=(2,), **sizes),
        bottom=config.TierConfig(downsampling=(1,), **sizes),
        quantizer=config.QuantizerConfig(num_codes=16, code_width=8),
    )


def training_run(**changes) -> config.VQVAETraining:
    return config.VQVAETraining(model=small(), **({"loss": WAVEFORM, "adversarial": ON} | changes))


@pytest.fixture(scope="module")
def weights() -> tuple[modules.Tree, modules.Tree]:
    """Parameters and buffers; the codebooks are drawn too, so that codes differ."""
    params, buffers = random_weights(adversarial.functional(training_run()))
    rng = np.random.default_rng(1)
    for tier in TIERS:
        entries = buffers[tier]["quantizer"]["entries"]
        buffers[tier]["quantizer"]["entries"] = rng.standard_normal(entries.shape).astype(np.float32)
    return jax.tree.map(jnp.asarray, (params, buffers))


@functools.cache
def gradients(run_key: str):
    """Jitted (params, buffers, audio) -> (value, metrics, buffers, gradients) of the run "balanced" or "plain"."""
    settings = ON if run_key == "balanced" else UNBALANCED
    run = training_run(adversarial=settings)
    functional, objective = adversarial.functional(run), adversarial.objective(run)

    def total(params, buffers, audio):
        model = functional.bind(params, buffers)
        value, metrics = objective(model, {"audio": audio}, jax.random.key(0), True)
        return value, (metrics, functional.buffers_of(model))

    @jax.jit
    def step(params, buffers, audio):
        (value, (metrics, buffers)), grads = jax.value_and_grad(total, has_aux=True)(params, buffers, audio)
        return value, metrics, buffers, grads

    return step


def without_balancers(buffers: modules.Tree) -> modules.Tree:
    return {tier: buffers[tier] for tier in TIERS}


def audio_batch(step: int = 0) -> np.ndarray:
    return tiny_runs.vqvae_batch(step)["audio"][:, :128]


def test_off_by_default_and_then_nothing_of_it_is_built():
    off = config.VQVAETraining(model=small())
    plain = modules.Functional(lambda rngs: vqvae.VQVAE(small(), rngs=rngs))
    built = adversarial.functional(off)
    assert jax.tree.structure(built.abstract_params) == jax.tree.structure(plain.abstract_params)
    assert jax.tree.structure(built.abstract_buffers) == jax.tree.structure(plain.abstract_buffers)
    with_it = adversarial.functional(training_run())
    assert set(with_it.abstract_params) == {*TIERS, "discriminator"}
    assert set(with_it.abstract_buffers) == {*TIERS, "balancers"}
    unbalanced = adversarial.functional(training_run(adversarial=UNBALANCED))
    assert set(unbalanced.abstract_buffers) == set(TIERS)


def loss_of_decoders(model: adversarial.AdversarialVQVAE, audio: np.ndarray) -> jax.Array:
    """What "plain" minimises but for the discriminator's own loss, written out."""
    real, total = model.discriminator(audio), 0.0
    for tier in TIERS:
        quantized = model.tier(tier).quantizer(model.tier(tier).encoder(audio))
        output = model.tier(tier).decoder(quantized.latents)
        errors, power = (audio - output) ** 2, (audio**2).mean() + 1e-8
        total += errors.mean() / power + 0.1 * jax.lax.top_k(errors, 20)[0].mean() / power
        total += 0.25 * quantized.commitment_loss
        judgement = model.discriminator(output)
        total += 0.5 * discriminator.generator_loss(judgement)
        total += 2.0 * discriminator.feature_matching_loss(real, judgement)
    return total


def test_the_decoders_get_the_gradient_of_their_own_loss(weights):
    params, buffers = weights
    buffers, audio = without_balancers(buffers), audio_batch()
    grads = gradients("plain")(params, buffers, audio)[3]
    functional = adversarial.functional(training_run(adversarial=UNBALANCED))

    def of_decoders(tiers):
        """Against a discriminator that is a constant."""
        return loss_of_decoders(functional.bind(params | tiers, buffers), audio)

    want = jax.jit(jax.grad(of_decoders))({tier: params[tier] for tier in TIERS})
    jax.tree.map(GRADIENTS_CLOSE, {tier: grads[tier] for tier in TIERS}, want)


def test_the_discriminator_gets_the_gradient_of_its_own_loss(weights):
    params, buffers = weights
    buffers, audio = without_balancers(buffers), audio_batch()
    _, metrics, _, grads = gradients("plain")(params, buffers, audio)
    functional = adversarial.functional(training_run(adversarial=UNBALANCED))

    def of_discriminator(own):
        """On reconstructions that are constants."""
        model = functional.bind(params | {"discriminator": own}, buffers)
        produced = [model.discriminator(output) for output in model.decode(model.encode(audio)).values()]
        return discriminator.discriminator_loss(model.discriminator(audio), produced)

    own_loss, want = jax.jit(jax.value_and_grad(of_discriminator))(params["discriminator"])
    jax.tree.map(GRADIENTS_CLOSE, grads["discriminator"], want)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads["discriminator"]))
    np.testing.assert_allclose(metrics["discriminator/loss"], own_loss, rtol=1e-5)


def test_terms_are_named_and_the_value_is_their_weighted_sum(weights):
    params, buffers = weights
    value, metrics, _, _ = gradients("balanced")(params, buffers, audio_batch())
    terms = {"l2": 1.0, "linf": 0.1, "adversarial": 0.5, "feature_matching": 2.0, "commitment": 0.25}
    others = {"latent_power", "usage", "perplexity", "dead", "restarts"}
    assert set(metrics) == {"discriminator/loss", "discriminator/accuracy"} | {
        f"{tier}/{name}" for tier in TIERS for name in {*terms, *others}
    }
    want = sum(weight * metrics[f"{tier}/{name}"] for tier in TIERS for name, weight in terms.items())
    np.testing.assert_allclose(value, want, rtol=1e-5)  # the discriminator's loss adds a gradient, no value


def test_balancers_learn_in_training_alone_and_leave_the_discriminator_its_gradient(weights):
    params, buffers = weights
    audio = audio_batch()
    _, _, after, balanced = gradients("balanced")(params, buffers, audio)
    _, _, _, plain = gradients("plain")(params, without_balancers(buffers), audio)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7)
    jax.tree.map(close, balanced["discriminator"], plain["discriminator"])
    names = [name in ("l2", "linf", "adversarial", "feature_matching") for name in adversarial.TERMS]
    for tier in TIERS:
        np.testing.assert_allclose(after["balancers"][tier]["mass"], 0.01 * np.array(names), rtol=1e-5)
        assert ((np.asarray(after["balancers"][tier]["norms"]) > 0) == names).all()
    run = training_run()
    functional, objective = adversarial.functional(run), adversarial.objective(run)

    @jax.jit
    def evaluate(params, buffers):
        model = functional.bind(params, buffers)
        return objective(model, {"audio": audio}, jax.random.key(0), False)[0], functional.buffers_of(model)

    value, kept = evaluate(params, buffers)
    jax.tree.map(np.testing.assert_array_equal, kept, buffers)
    np.testing.assert_allclose(value, gradients("balanced")(params, buffers, audio)[0], rtol=1e-5)


def test_the_discriminator_learns_to_tell_a_frozen_tokenizer(weights):
    params, buffers = weights
    optimizer, history = optax.adam(3e-3), []
    own = params["discriminator"]
    opt_state = optimizer.init(own)
    apply = jax.jit(lambda p, s, g: (lambda u, s: (optax.apply_updates(p, u), s))(*optimizer.update(g, s, p)))
    for index in range(40):
        state = params | {"discriminator": own}
        _, metrics, _, grads = gradients("plain")(state, without_balancers(buffers), audio_batch(index))
        own, opt_state = apply(own, opt_state, grads["discriminator"])
        history.append((float(metrics["discriminator/loss"]), float(metrics["discriminator/accuracy"])))
    first, last = np.mean(history[:3], axis=0), np.mean(history[-3:], axis=0)
    assert last[0] < 0.5 * first[0] and last[1] > 0.85, history[::8]


def test_silence_is_finite(weights):
    for result in jax.tree.leaves(gradients("balanced")(*weights, np.zeros((8, 128), np.float32))):
        assert np.isfinite(result).all()


def test_eight_devices_equal_one_in_every_term_and_in_the_balance(weights):
    functional = adversarial.functional(training_run())
    factors = dataclasses.asdict(EVERYTHING) | {"adversarial": 0.5, "feature_matching": 2.0}

    @jax.jit
    def game(weights, audio, reconstruction):
        """One tier's output against the audio: terms, buffers and the gradients of the output and of all parameters."""

        def total(params, reconstruction):
            model = functional.bind(params, weights[1])
            reference = loss.make_reference(audio, EVERYTHING, SAMPLE_RATE)
            real, judge = model.discriminator(audio), discriminator.frozen(model.discriminator)

            def terms(output):
                found, judgement = loss.reconstruction_terms(reference, output, EVERYTHING), judge(output)
                found["adversarial"] = discriminator.generator_loss(judgement)
                return found | {"feature_matching": discriminator.feature_matching_loss(real, judgement)}

            value, found = model.balancers["top"].balance(terms, reconstruction, factors, loss.RECONSTRUCTION)
            produced = [model.discriminator(jax.lax.stop_gradient(reconstruction))]
            value += discriminator.discriminator_loss(real, produced)
            found["accuracy"] = discriminator.accuracy(real, produced)
            return value, (found, functional.buffers_of(model)["balancers"]["top"])

        return jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(weights[0], reconstruction)

    sounds = {"audio": tiny_runs.vqvae_batch(0)["audio"], "reconstruction": tiny_runs.vqvae_batch(1)["audio"]}
    one, eight = (
        game(weights, **loader.to_device(sounds, meshes.make_mesh(config.MeshConfig(), jax.devices()[:count])))
        for count in (1, 8)
    )
    (_, (found, buffers)), (_, of_output) = one
    assert set(found) == {*adversarial.TERMS, "accuracy"} and all(np.all(leaf) for leaf in jax.tree.leaves(buffers))
    largest = float(np.abs(of_output).max())
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4 * largest)
    jax.tree.map(close, eight, one)


@pytest.fixture(scope="module")
def workdir(weights, tmp_path_factory):
    """As `train_vqvae` leaves it; that it trains with a discriminator is checked where training is resumed."""
    run = training_run(clip_samples=256)
    path = tmp_path_factory.mktemp("adversarial") / "run"
    tiny_workdirs.write_workdir(path, run, weights)
    return path, run


def test_a_tokenizer_trained_against_a_discriminator_is_its_tiers_alone(workdir, weights):
    path, run = workdir
    loaded = pretrained.load_vqvae(str(path))
    params, buffers = ({tier: tree[tier] for tier in TIERS} for tree in weights)
    assert loaded.fingerprint == vqvae_tokenizer.VQVAETokenizer(run.model, params, buffers).fingerprint
    audio = 0.1 * np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    codes = loaded.encode(iter([audio]))
    for tier in TIERS:
        decoded = loaded.decode(codes[tier], tier)
        assert np.isfinite(decoded).all() and len(decoded) >= len(audio)


def test_a_checkpoint_with_a_discriminator_does_not_fit_a_run_without(workdir):
    path, run = workdir
    without = dataclasses.replace(run, adversarial=config.AdversarialConfig())
    config.write_json(path / "config.json", without)
    try:
        with pytest.raises(ValueError, match=r"discriminator.*this run absent"):
            pretrained.load_vqvae(str(path))
    finally:
        config.write_json(path / "config.json", run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": -1.0}, "adversarial.weight=-1.0: must be 0"),
        ({"fft_sizes": ()}, "adversarial.fft_sizes="),
        ({"fft_sizes": (64, 30)}, "must be a multiple of 4"),
        ({"fft_sizes": (512, 64)}, r"fft_sizes=\(512, 64\): none may exceed clip_samples=256"),
        ({"balance_decay": 1.0}, "adversarial.balance_decay=1.0"),
        ({"width": 0}, "adversarial.width=0"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    run = training_run(clip_samples=256, data=config.DataConfig(path="somewhere"))
    run.validate()
    run.adversarial = dataclasses.replace(ON, **changes)
    with pytest.raises(ValueError, match=message):
        run.validate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"l2": 0.0, "linf": 0.0}, "at least one of l1, l2, linf, spectral, log_spectral, mel must be above 0"),
        ({"mel": -0.5}, "loss.mel=-0.5: must be 0"),
        ({"linf_k": 0}, "loss.linf_k=0: must be at least 1"),
        ({"normalization": "song"}, "loss.normalization='song': must be one of"),
        ({"data_seconds": 0.0}, "loss.data_seconds=0.0: must be positive"),
    ],
)
def test_losses_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(WAVEFORM, **changes).validate()
